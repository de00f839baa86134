#ifndef EDGECOMP_POINTWISE_H_
#define EDGECOMP_POINTWISE_H_

// Kernels that treat every element by itself: requant, step, lookup, add, mul.
// Element i of a tensor belongs to channel i % CONFIG_T::channels. A parameter holds one entry for all channels or one
// for each. Every type is exactly as wide as the values need; nothing wraps, rounds or saturates but where it says so.
// Comparisons are made in the signed type CONFIG_T::compare_t, which holds both sides: from 32 bits on ap_int compares a
// signed with an unsigned number as C does, by its bit pattern.

#include "ap_int.h"
#include "edgecomp_stream.h"

namespace edgecomp {

// Where the entry of channel c is in a parameter of `count` entries.
inline unsigned entry(unsigned c, unsigned count) {
    #pragma HLS INLINE
    return count == 1 ? 0 : c;
}

// floor(v / 2^shift); half to even takes one off where the division left no remainder and the quotient is odd, for the
// addend of v holds the half.
template <class scaled_T, unsigned SHIFT, bool HALF_EVEN> struct rounded {
    static scaled_T of(scaled_T v) {
        #pragma HLS INLINE
        scaled_T quotient = v >> SHIFT;
        ap_uint<SHIFT> remainder = v;
        if (remainder == 0 && quotient[0])
            quotient = quotient - 1;
        return quotient;
    }
};

template <class scaled_T, unsigned SHIFT> struct rounded<scaled_T, SHIFT, false> {
    static scaled_T of(scaled_T v) {
        #pragma HLS INLINE
        return v >> SHIFT;
    }
};

template <class scaled_T> struct rounded<scaled_T, 0, false> {
    static scaled_T of(scaled_T v) {
        #pragma HLS INLINE
        return v;
    }
};

// clip((multiplier * x + addend) / 2^shift, lo, hi)
template <class data_T, class res_T, typename CONFIG_T>
res_T requant_one(data_T x, unsigned c, typename CONFIG_T::multiplier_t multiplier[CONFIG_T::n_multiplier],
                  typename CONFIG_T::addend_t addend[CONFIG_T::n_addend], typename CONFIG_T::lo_t lo[CONFIG_T::n_lo],
                  typename CONFIG_T::hi_t hi[CONFIG_T::n_hi]) {
    #pragma HLS INLINE
    typename CONFIG_T::scaled_t v = multiplier[entry(c, CONFIG_T::n_multiplier)] * x + addend[entry(c, CONFIG_T::n_addend)];
    typename CONFIG_T::scaled_t y =
        rounded<typename CONFIG_T::scaled_t, CONFIG_T::shift, CONFIG_T::half_even != 0>::of(v);
    typename CONFIG_T::compare_t compared = y;
    typename CONFIG_T::compare_t least = lo[entry(c, CONFIG_T::n_lo)];
    typename CONFIG_T::compare_t greatest = hi[entry(c, CONFIG_T::n_hi)];
    if (compared < least)
        return least;
    if (compared > greatest)
        return greatest;
    return compared;
}

template <class data_T, class res_T, typename CONFIG_T>
void requant(data_T x[CONFIG_T::n], res_T y[CONFIG_T::n],
             typename CONFIG_T::multiplier_t multiplier[CONFIG_T::n_multiplier],
             typename CONFIG_T::addend_t addend[CONFIG_T::n_addend], typename CONFIG_T::lo_t lo[CONFIG_T::n_lo],
             typename CONFIG_T::hi_t hi[CONFIG_T::n_hi]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n; i++) {
        #pragma HLS UNROLL
        y[i] = requant_one<data_T, res_T, CONFIG_T>(x[i], i % CONFIG_T::channels, multiplier, addend, lo, hi);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void requant(hls::stream<data_T> &x, hls::stream<res_T> &y,
             typename CONFIG_T::multiplier_t multiplier[CONFIG_T::n_multiplier],
             typename CONFIG_T::addend_t addend[CONFIG_T::n_addend], typename CONFIG_T::lo_t lo[CONFIG_T::n_lo],
             typename CONFIG_T::hi_t hi[CONFIG_T::n_hi]) {
    for (unsigned beat = 0; beat < CONFIG_T::n / data_T::size; beat++) {
        #pragma HLS PIPELINE
        data_T in = x.read();
        res_T out;
        for (unsigned c = 0; c < data_T::size; c++) {
            #pragma HLS UNROLL
            out[c] = requant_one<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(
                in[c], c % CONFIG_T::channels, multiplier, addend, lo, hi);
        }
        y.write(out);
    }
}

// values[number of thresholds <= x], by binary search; CONFIG_T::count is 2^stages - 1.
template <class data_T, class res_T, typename CONFIG_T>
res_T step_one(data_T x, unsigned c, typename CONFIG_T::thresholds_t thresholds[CONFIG_T::n_thresholds],
               typename CONFIG_T::values_t values[CONFIG_T::n_values]) {
    #pragma HLS INLINE
    unsigned row = entry(c, CONFIG_T::rows);
    typename CONFIG_T::compare_t compared = x;
    ap_uint<CONFIG_T::stages> reached = 0;
    for (int stage = CONFIG_T::stages - 1; stage >= 0; stage--) {
        #pragma HLS UNROLL
        ap_uint<CONFIG_T::stages> tried = reached;
        tried[stage] = 1;
        typename CONFIG_T::compare_t threshold = thresholds[row * CONFIG_T::count + (unsigned)tried - 1];
        if (compared >= threshold)
            reached = tried;
    }
    return values[row * (CONFIG_T::count + 1) + (unsigned)reached];
}

template <class data_T, class res_T, typename CONFIG_T>
void step(data_T x[CONFIG_T::n], res_T y[CONFIG_T::n],
          typename CONFIG_T::thresholds_t thresholds[CONFIG_T::n_thresholds],
          typename CONFIG_T::values_t values[CONFIG_T::n_values]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n; i++) {
        #pragma HLS UNROLL
        y[i] = step_one<data_T, res_T, CONFIG_T>(x[i], i % CONFIG_T::channels, thresholds, values);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void step(hls::stream<data_T> &x, hls::stream<res_T> &y,
          typename CONFIG_T::thresholds_t thresholds[CONFIG_T::n_thresholds],
          typename CONFIG_T::values_t values[CONFIG_T::n_values]) {
    for (unsigned beat = 0; beat < CONFIG_T::n / data_T::size; beat++) {
        #pragma HLS PIPELINE
        data_T in = x.read();
        res_T out;
        for (unsigned c = 0; c < data_T::size; c++) {
            #pragma HLS UNROLL
            out[c] = step_one<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(
                in[c], c % CONFIG_T::channels, thresholds, values);
        }
        y.write(out);
    }
}

// values[x - least]: a step function as a table over every code.
template <class data_T, class res_T, typename CONFIG_T>
res_T lookup_one(data_T x, unsigned c, typename CONFIG_T::values_t values[CONFIG_T::n_values]) {
    #pragma HLS INLINE
    typename CONFIG_T::position_t position = x - CONFIG_T::least;
    return values[entry(c, CONFIG_T::rows) * CONFIG_T::entries + position];
}

template <class data_T, class res_T, typename CONFIG_T>
void lookup(data_T x[CONFIG_T::n], res_T y[CONFIG_T::n], typename CONFIG_T::values_t values[CONFIG_T::n_values]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n; i++) {
        #pragma HLS UNROLL
        y[i] = lookup_one<data_T, res_T, CONFIG_T>(x[i], i % CONFIG_T::channels, values);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void lookup(hls::stream<data_T> &x, hls::stream<res_T> &y, typename CONFIG_T::values_t values[CONFIG_T::n_values]) {
    for (unsigned beat = 0; beat < CONFIG_T::n / data_T::size; beat++) {
        #pragma HLS PIPELINE
        data_T in = x.read();
        res_T out;
        for (unsigned c = 0; c < data_T::size; c++) {
            #pragma HLS UNROLL
            out[c] = lookup_one<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(
                in[c], c % CONFIG_T::channels, values);
        }
        y.write(out);
    }
}

// p * a + q * b, coefficients per channel
template <class a_T, class b_T, class res_T, typename CONFIG_T>
void add(a_T a[CONFIG_T::n], b_T b[CONFIG_T::n], res_T y[CONFIG_T::n], typename CONFIG_T::p_t p[CONFIG_T::n_p],
         typename CONFIG_T::q_t q[CONFIG_T::n_q]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n; i++) {
        #pragma HLS UNROLL
        unsigned c = i % CONFIG_T::channels;
        y[i] = p[entry(c, CONFIG_T::n_p)] * a[i] + q[entry(c, CONFIG_T::n_q)] * b[i];
    }
}

template <class a_T, class b_T, class res_T, typename CONFIG_T>
void add(hls::stream<a_T> &a, hls::stream<b_T> &b, hls::stream<res_T> &y, typename CONFIG_T::p_t p[CONFIG_T::n_p],
         typename CONFIG_T::q_t q[CONFIG_T::n_q]) {
    for (unsigned beat = 0; beat < CONFIG_T::n / a_T::size; beat++) {
        #pragma HLS PIPELINE
        a_T in_a = a.read();
        b_T in_b = b.read();
        res_T out;
        for (unsigned c = 0; c < a_T::size; c++) {
            #pragma HLS UNROLL
            out[c] = p[entry(c, CONFIG_T::n_p)] * in_a[c] + q[entry(c, CONFIG_T::n_q)] * in_b[c];
        }
        y.write(out);
    }
}

// a * b
template <class a_T, class b_T, class res_T, typename CONFIG_T>
void mul(a_T a[CONFIG_T::n], b_T b[CONFIG_T::n], res_T y[CONFIG_T::n]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n; i++) {
        #pragma HLS UNROLL
        y[i] = a[i] * b[i];
    }
}

template <class a_T, class b_T, class res_T, typename CONFIG_T>
void mul(hls::stream<a_T> &a, hls::stream<b_T> &b, hls::stream<res_T> &y) {
    for (unsigned beat = 0; beat < CONFIG_T::n / a_T::size; beat++) {
        #pragma HLS PIPELINE
        a_T in_a = a.read();
        b_T in_b = b.read();
        res_T out;
        for (unsigned c = 0; c < a_T::size; c++) {
            #pragma HLS UNROLL
            out[c] = in_a[c] * in_b[c];
        }
        y.write(out);
    }
}

} // namespace edgecomp

#endif
