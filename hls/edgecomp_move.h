#ifndef EDGECOMP_MOVE_H_
#define EDGECOMP_MOVE_H_

// Data movement with constant indices: wires in a parallel circuit, a buffer in a streamed one.

#include "edgecomp_stream.h"

namespace edgecomp {

// y[i] = x[source[i]], or fill where source[i] is n_in
template <class data_T, class res_T, typename CONFIG_T>
void gather(data_T x[CONFIG_T::n_in], res_T y[CONFIG_T::n_out], typename CONFIG_T::source_t source[CONFIG_T::n_source]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n_out; i++) {
        #pragma HLS UNROLL
        unsigned from = source[i];
        if (from == CONFIG_T::n_in)
            y[i] = CONFIG_T::fill;
        else
            y[i] = x[from];
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void gather(hls::stream<data_T> &x, hls::stream<res_T> &y, typename CONFIG_T::source_t source[CONFIG_T::n_source]) {
    typename data_T::value_type in[CONFIG_T::n_in];
    typename res_T::value_type out[CONFIG_T::n_out];
    #pragma HLS ARRAY_PARTITION variable=in complete
    #pragma HLS ARRAY_PARTITION variable=out complete
    read_tensor<data_T, CONFIG_T::n_in>(x, in);
    gather<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in, out, source);
    write_tensor<res_T, CONFIG_T::n_out>(out, y);
}

// y[i] = element source[i] of a followed by b
template <class a_T, class b_T, class res_T, typename CONFIG_T>
void join(a_T a[CONFIG_T::n_a], b_T b[CONFIG_T::n_b], res_T y[CONFIG_T::n_out],
          typename CONFIG_T::source_t source[CONFIG_T::n_source]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n_out; i++) {
        #pragma HLS UNROLL
        unsigned from = source[i];
        if (from < CONFIG_T::n_a)
            y[i] = a[from];
        else
            y[i] = b[from - CONFIG_T::n_a];
    }
}

template <class a_T, class b_T, class res_T, typename CONFIG_T>
void join(hls::stream<a_T> &a, hls::stream<b_T> &b, hls::stream<res_T> &y,
          typename CONFIG_T::source_t source[CONFIG_T::n_source]) {
    typename a_T::value_type in_a[CONFIG_T::n_a];
    typename b_T::value_type in_b[CONFIG_T::n_b];
    typename res_T::value_type out[CONFIG_T::n_out];
    #pragma HLS ARRAY_PARTITION variable=in_a complete
    #pragma HLS ARRAY_PARTITION variable=in_b complete
    #pragma HLS ARRAY_PARTITION variable=out complete
    read_tensor<a_T, CONFIG_T::n_a>(a, in_a);
    read_tensor<b_T, CONFIG_T::n_b>(b, in_b);
    join<typename a_T::value_type, typename b_T::value_type, typename res_T::value_type, CONFIG_T>(in_a, in_b, out, source);
    write_tensor<res_T, CONFIG_T::n_out>(out, y);
}

} // namespace edgecomp

#endif
