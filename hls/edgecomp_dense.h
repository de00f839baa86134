#ifndef EDGECOMP_DENSE_H_
#define EDGECOMP_DENSE_H_

// Kernels over a whole vector: table_dense and argmax.

#include "edgecomp_stream.h"

namespace edgecomp {

// y[j] = sum over i of tables[j][i][x[i] - lo[i]]
template <class data_T, class res_T, typename CONFIG_T>
void table_dense(data_T x[CONFIG_T::n_in], res_T y[CONFIG_T::n_out],
                 typename CONFIG_T::tables_t tables[CONFIG_T::n_tables], typename CONFIG_T::lo_t lo[CONFIG_T::n_lo]) {
    #pragma HLS PIPELINE
    for (unsigned j = 0; j < CONFIG_T::n_out; j++) {
        #pragma HLS UNROLL
        typename CONFIG_T::accum_t sum = 0;
        for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
            #pragma HLS UNROLL
            typename CONFIG_T::position_t position = x[i] - lo[i];
            sum += tables[(j * CONFIG_T::n_in + i) * CONFIG_T::entries + position];
        }
        y[j] = sum;
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void table_dense(hls::stream<data_T> &x, hls::stream<res_T> &y,
                 typename CONFIG_T::tables_t tables[CONFIG_T::n_tables], typename CONFIG_T::lo_t lo[CONFIG_T::n_lo]) {
    typename data_T::value_type in[CONFIG_T::n_in];
    typename res_T::value_type out[CONFIG_T::n_out];
    #pragma HLS ARRAY_PARTITION variable=in complete
    #pragma HLS ARRAY_PARTITION variable=out complete
    read_tensor<data_T, CONFIG_T::n_in>(x, in);
    table_dense<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in, out, tables, lo);
    write_tensor<res_T, CONFIG_T::n_out>(out, y);
}

// The index of the greatest element; the lowest index among equals.
template <class data_T, class res_T, typename CONFIG_T> void argmax(data_T x[CONFIG_T::n], res_T y[1]) {
    #pragma HLS PIPELINE
    data_T greatest[CONFIG_T::n];
    res_T best[CONFIG_T::n];
    #pragma HLS ARRAY_PARTITION variable=greatest complete
    #pragma HLS ARRAY_PARTITION variable=best complete
    for (unsigned i = 0; i < CONFIG_T::n; i++) {
        #pragma HLS UNROLL
        greatest[i] = x[i];
        best[i] = i;
    }
    // A tree: after each level, entry i of 2^(level + 1) stands for all up to the next; the left one wins a tie.
    for (unsigned level = 0; level < CONFIG_T::levels; level++) {
        #pragma HLS UNROLL
        for (unsigned i = 0; i + (1u << level) < CONFIG_T::n; i += 2u << level) {
            #pragma HLS UNROLL
            if (greatest[i + (1u << level)] > greatest[i]) {
                greatest[i] = greatest[i + (1u << level)];
                best[i] = best[i + (1u << level)];
            }
        }
    }
    y[0] = best[0];
}

template <class data_T, class res_T, typename CONFIG_T> void argmax(hls::stream<data_T> &x, hls::stream<res_T> &y) {
    typename data_T::value_type in[CONFIG_T::n];
    typename res_T::value_type out[1];
    #pragma HLS ARRAY_PARTITION variable=in complete
    read_tensor<data_T, CONFIG_T::n>(x, in);
    argmax<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in, out);
    write_tensor<res_T, 1>(out, y);
}

} // namespace edgecomp

#endif
