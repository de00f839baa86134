#ifndef EDGECOMP_STREAM_H_
#define EDGECOMP_STREAM_H_

// Whole tensors in and out of streams. A beat is an nnet::array that holds the channels of one place; a kernel that
// looks at several places at once reads the whole tensor first.

#include "hls_stream.h"

namespace edgecomp {

template <class beat_T, unsigned N> void read_tensor(hls::stream<beat_T> &stream, typename beat_T::value_type tensor[N]) {
    for (unsigned beat = 0; beat < N / beat_T::size; beat++) {
        #pragma HLS PIPELINE
        beat_T word = stream.read();
        for (unsigned c = 0; c < beat_T::size; c++) {
            #pragma HLS UNROLL
            tensor[beat * beat_T::size + c] = word[c];
        }
    }
}

template <class beat_T, unsigned N> void write_tensor(typename beat_T::value_type tensor[N], hls::stream<beat_T> &stream) {
    for (unsigned beat = 0; beat < N / beat_T::size; beat++) {
        #pragma HLS PIPELINE
        beat_T word;
        for (unsigned c = 0; c < beat_T::size; c++) {
            #pragma HLS UNROLL
            word[c] = tensor[beat * beat_T::size + c];
        }
        stream.write(word);
    }
}

} // namespace edgecomp

#endif
