// What the testbenches share, included by them: the layout of the buses, the golden vectors, and ports of any width.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "verilated.h"

[[noreturn]] static void give_up(int status, const std::string &what) {
    std::cout.flush();
    std::cerr << "ERROR: " << what << std::endl;
    std::exit(status);
}

struct End {
    std::string name;
    std::size_t elements, bits;
    bool is_signed;
    std::vector<long long> codes;
};

static std::size_t read_vectors(End &end, const std::string &path) {
    std::ifstream file(path);
    std::string samples_word, values_word, end_word, more;
    std::size_t samples = 0, values = 0, closing = 0;
    if (!(file >> samples_word >> samples >> values_word >> values) || samples_word != "samples" || values_word != "values")
        give_up(2, path + " is missing or does not begin with 'samples N values V'");
    if (values != end.elements)
        give_up(2, path + " holds another number of values than layout.txt says");
    end.codes.resize(samples * values);
    for (auto &code : end.codes)
        if (!(file >> code))
            give_up(2, path + " is short or malformed");
    if (!(file >> end_word >> closing) || end_word != "end" || closing != samples || (file >> more))
        give_up(2, path + " does not close with 'end " + std::to_string(samples) + "'");
    for (auto code : end.codes) {
        const long long low = end.is_signed ? -(1LL << (end.bits - 1)) : 0;
        const long long high = end.is_signed ? (1LL << (end.bits - 1)) - 1 : (1LL << end.bits) - 1;
        if (code < low || code > high)
            give_up(2, path + " holds " + std::to_string(code) + ", which does not fit");
    }
    return samples;
}

template <class Port> static void drive(Port &port, const std::vector<std::uint32_t> &words) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < words.size() && i < 2; i++)
        value |= std::uint64_t(words[i]) << 32 * i;
    port = static_cast<Port>(value);
}
template <std::size_t N> static void drive(VlWide<N> &port, const std::vector<std::uint32_t> &words) {
    for (std::size_t i = 0; i < N; i++)
        port[i] = words[i];
}
template <class Port> static std::uint32_t word_of(const Port &port, std::size_t i) {
    return std::uint32_t(std::uint64_t(port) >> 32 * i);
}
template <std::size_t N> static std::uint32_t word_of(const VlWide<N> &port, std::size_t i) { return port[i]; }

static std::size_t width_of(const std::vector<End> &ends) {
    std::size_t width = 0;
    for (const auto &end : ends)
        width += end.elements * end.bits;
    return width;
}

struct Vectors {
    std::vector<End> inputs, outputs;
    std::size_t samples = 0;

    Vectors(const std::string &layout, const std::string &folder) {
        std::ifstream file(layout);
        std::string line, side;
        while (std::getline(file, line)) {
            End end;
            std::istringstream words(line);
            if (!(words >> side >> end.name >> end.elements >> end.bits >> end.is_signed))
                give_up(2, "layout.txt is malformed");
            const bool input = side == "input";
            const std::size_t found = read_vectors(end, folder + (input ? "/inputs_" : "/expected_") + end.name + ".dat");
            if (samples && found != samples)
                give_up(2, "the files hold different numbers of samples");
            samples = found;
            (input ? inputs : outputs).push_back(end);
        }
        if (inputs.empty() || outputs.empty() || samples == 0)
            give_up(2, "layout.txt names no inputs or outputs, or there are no samples");
    }

    std::vector<std::uint32_t> row(std::size_t sample) const {
        std::size_t place = 0;
        std::vector<std::uint32_t> words((width_of(inputs) + 31) / 32);
        for (const auto &end : inputs)
            for (std::size_t k = 0; k < end.elements; k++)
                for (std::size_t b = 0; b < end.bits; b++, place++)
                    words[place / 32] |= std::uint32_t(end.codes[sample * end.elements + k] >> b & 1) << place % 32;
        return words;
    }

    template <class Port> void compare(std::size_t sample, const Port &port) const {
        std::size_t place = 0;
        for (const auto &end : outputs)
            for (std::size_t k = 0; k < end.elements; k++) {
                long long got = 0;
                for (std::size_t b = 0; b < end.bits; b++, place++)
                    got |= (long long)(word_of(port, place / 32) >> place % 32 & 1) << b;
                if (end.is_signed && got >> (end.bits - 1) & 1)
                    got -= 1LL << end.bits;
                const long long expected = end.codes[sample * end.elements + k];
                if (got != expected)
                    give_up(1, "first difference: sample " + std::to_string(sample) + ", " + end.name + "[" +
                                   std::to_string(k) + "]: expected " + std::to_string(expected) + ", got " +
                                   std::to_string(got));
            }
    }
};

struct Noise {
    std::uint64_t state = 88172645463325252ULL;

    std::uint32_t operator()() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return std::uint32_t(state >> 16);
    }
};
