#ifndef EDGECOMP_TRACE_H_
#define EDGECOMP_TRACE_H_

// EDGECOMP_TRACE(number, value, count) after a layer writes its values to the trace when the C simulation is compiled
// with EDGECOMP_TRACE_VALUES; it is nothing otherwise, and in synthesis.

#if defined(EDGECOMP_TRACE_VALUES) && !defined(__SYNTHESIS__)

#include "hls_stream.h"
#include <fstream>

namespace edgecomp {

inline std::ofstream &trace_file() {
    static std::ofstream file;
    return file;
}

template <class T> void trace(int number, const T *value, unsigned count) {
    trace_file() << number;
    for (unsigned i = 0; i < count; i++)
        trace_file() << ' ' << value[i].to_int64();
    trace_file() << '\n';
}

template <class T> void trace(int number, hls::stream<T> &value, unsigned count) {
    trace_file() << number;
    for (unsigned beat = 0; beat < count / T::size; beat++) {
        T word = value.read();
        for (unsigned i = 0; i < T::size; i++)
            trace_file() << ' ' << word[i].to_int64();
        value.write(word);
    }
    trace_file() << '\n';
}

} // namespace edgecomp

#define EDGECOMP_TRACE(number, value, count) edgecomp::trace(number, value, count)

#else

#define EDGECOMP_TRACE(number, value, count)

#endif

#endif
