#ifndef EDGECOMP_WINDOW_H_
#define EDGECOMP_WINDOW_H_

// Sliding windows over images that lie channels last; one spatial axis is an image of height 1.

#include "edgecomp_stream.h"

namespace edgecomp {

// The row (or column) of the input that tap k of window i looks at; outside 0..size-1 it is padding.
inline int tap(int i, int k, int stride, int dilation, int pad) {
    #pragma HLS INLINE
    return i * stride + k * dilation - pad;
}

inline bool inside(int at, int size) {
    #pragma HLS INLINE
    return at >= 0 && at < size;
}

// Cross-correlation with zero padding; weight lies as [kernel_h][kernel_w][inputs of a group][filters].
template <class data_T, class res_T, typename CONFIG_T>
void conv(data_T x[CONFIG_T::in_h * CONFIG_T::in_w * CONFIG_T::channels],
          res_T y[CONFIG_T::out_h * CONFIG_T::out_w * CONFIG_T::filters],
          typename CONFIG_T::weight_t weight[CONFIG_T::n_weight], typename CONFIG_T::bias_t bias[CONFIG_T::n_bias]) {
    #pragma HLS PIPELINE II=CONFIG_T::reuse_factor
    const int inputs = CONFIG_T::channels / CONFIG_T::groups;
    const int outputs = CONFIG_T::filters / CONFIG_T::groups;
    for (int oh = 0; oh < (int)CONFIG_T::out_h; oh++) {
        for (int ow = 0; ow < (int)CONFIG_T::out_w; ow++) {
            for (int f = 0; f < (int)CONFIG_T::filters; f++) {
                typename CONFIG_T::accum_t sum = bias[f];
                for (int kh = 0; kh < (int)CONFIG_T::kernel_h; kh++) {
                    for (int kw = 0; kw < (int)CONFIG_T::kernel_w; kw++) {
                        int h = tap(oh, kh, CONFIG_T::stride_h, CONFIG_T::dilation_h, CONFIG_T::pad_h);
                        int w = tap(ow, kw, CONFIG_T::stride_w, CONFIG_T::dilation_w, CONFIG_T::pad_w);
                        if (!inside(h, CONFIG_T::in_h) || !inside(w, CONFIG_T::in_w))
                            continue;
                        for (int i = 0; i < inputs; i++) {
                            int at = (h * CONFIG_T::in_w + w) * CONFIG_T::channels + f / outputs * inputs + i;
                            int by = ((kh * CONFIG_T::kernel_w + kw) * inputs + i) * CONFIG_T::filters + f;
                            sum += x[at] * weight[by];
                        }
                    }
                }
                y[(oh * CONFIG_T::out_w + ow) * CONFIG_T::filters + f] = sum;
            }
        }
    }
}

// The greatest of `window`, as a tree; entries that are not `real` never win, and one at least is.
template <class data_T, unsigned N, unsigned LEVELS> data_T greatest_of(data_T window[N], bool real[N]) {
    #pragma HLS INLINE
    for (unsigned level = 0; level < LEVELS; level++) {
        #pragma HLS UNROLL
        for (unsigned i = 0; i + (1u << level) < N; i += 2u << level) {
            #pragma HLS UNROLL
            unsigned other = i + (1u << level);
            if (real[other] && (!real[i] || window[other] > window[i]))
                window[i] = window[other];
            real[i] = real[i] || real[other];
        }
    }
    return window[0];
}

// The greatest of each window; padded places never win.
template <class data_T, class res_T, typename CONFIG_T>
void max_pool(data_T x[CONFIG_T::in_h * CONFIG_T::in_w * CONFIG_T::channels],
              res_T y[CONFIG_T::out_h * CONFIG_T::out_w * CONFIG_T::channels]) {
    #pragma HLS PIPELINE
    for (int oh = 0; oh < (int)CONFIG_T::out_h; oh++) {
        for (int ow = 0; ow < (int)CONFIG_T::out_w; ow++) {
            for (int c = 0; c < (int)CONFIG_T::channels; c++) {
                data_T window[CONFIG_T::kernel_h * CONFIG_T::kernel_w];
                bool real[CONFIG_T::kernel_h * CONFIG_T::kernel_w];
                #pragma HLS ARRAY_PARTITION variable=window complete
                #pragma HLS ARRAY_PARTITION variable=real complete
                for (int kh = 0; kh < (int)CONFIG_T::kernel_h; kh++) {
                    for (int kw = 0; kw < (int)CONFIG_T::kernel_w; kw++) {
                        int h = tap(oh, kh, CONFIG_T::stride_h, CONFIG_T::dilation_h, CONFIG_T::pad_h);
                        int w = tap(ow, kw, CONFIG_T::stride_w, CONFIG_T::dilation_w, CONFIG_T::pad_w);
                        unsigned k = kh * CONFIG_T::kernel_w + kw;
                        real[k] = inside(h, CONFIG_T::in_h) && inside(w, CONFIG_T::in_w);
                        window[k] = 0;
                        if (real[k])
                            window[k] = x[(h * CONFIG_T::in_w + w) * CONFIG_T::channels + c];
                    }
                }
                y[(oh * CONFIG_T::out_w + ow) * CONFIG_T::channels + c] =
                    greatest_of<data_T, CONFIG_T::kernel_h * CONFIG_T::kernel_w, CONFIG_T::levels>(window, real);
            }
        }
    }
}

// The sum of each window; padded places count as zero.
template <class data_T, class res_T, typename CONFIG_T>
void sum_pool(data_T x[CONFIG_T::in_h * CONFIG_T::in_w * CONFIG_T::channels],
              res_T y[CONFIG_T::out_h * CONFIG_T::out_w * CONFIG_T::channels]) {
    #pragma HLS PIPELINE
    for (int oh = 0; oh < (int)CONFIG_T::out_h; oh++) {
        for (int ow = 0; ow < (int)CONFIG_T::out_w; ow++) {
            for (int c = 0; c < (int)CONFIG_T::channels; c++) {
                typename CONFIG_T::accum_t sum = 0;
                for (int kh = 0; kh < (int)CONFIG_T::kernel_h; kh++) {
                    for (int kw = 0; kw < (int)CONFIG_T::kernel_w; kw++) {
                        int h = tap(oh, kh, CONFIG_T::stride_h, CONFIG_T::dilation_h, CONFIG_T::pad_h);
                        int w = tap(ow, kw, CONFIG_T::stride_w, CONFIG_T::dilation_w, CONFIG_T::pad_w);
                        if (inside(h, CONFIG_T::in_h) && inside(w, CONFIG_T::in_w))
                            sum += x[(h * CONFIG_T::in_w + w) * CONFIG_T::channels + c];
                    }
                }
                y[(oh * CONFIG_T::out_w + ow) * CONFIG_T::channels + c] = sum;
            }
        }
    }
}

// In a stream the whole image is read first.
template <class data_T, class res_T, typename CONFIG_T> void max_pool(hls::stream<data_T> &x, hls::stream<res_T> &y) {
    typename data_T::value_type in[CONFIG_T::in_h * CONFIG_T::in_w * CONFIG_T::channels];
    typename res_T::value_type out[CONFIG_T::out_h * CONFIG_T::out_w * CONFIG_T::channels];
    #pragma HLS ARRAY_PARTITION variable=in complete
    #pragma HLS ARRAY_PARTITION variable=out complete
    read_tensor<data_T, CONFIG_T::in_h * CONFIG_T::in_w * CONFIG_T::channels>(x, in);
    max_pool<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in, out);
    write_tensor<res_T, CONFIG_T::out_h * CONFIG_T::out_w * CONFIG_T::channels>(out, y);
}

template <class data_T, class res_T, typename CONFIG_T> void sum_pool(hls::stream<data_T> &x, hls::stream<res_T> &y) {
    typename data_T::value_type in[CONFIG_T::in_h * CONFIG_T::in_w * CONFIG_T::channels];
    typename res_T::value_type out[CONFIG_T::out_h * CONFIG_T::out_w * CONFIG_T::channels];
    #pragma HLS ARRAY_PARTITION variable=in complete
    #pragma HLS ARRAY_PARTITION variable=out complete
    read_tensor<data_T, CONFIG_T::in_h * CONFIG_T::in_w * CONFIG_T::channels>(x, in);
    sum_pool<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in, out);
    write_tensor<res_T, CONFIG_T::out_h * CONFIG_T::out_w * CONFIG_T::channels>(out, y);
}

} // namespace edgecomp

#endif
