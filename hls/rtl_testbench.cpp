// Simulates a pipelined circuit cycle by cycle on golden vectors and compares every code.
//
// arguments: LAYOUT FOLDER
//   LAYOUT   one line a node: input|output NAME ELEMENTS BITS SIGNED, in the order of the data buses, lowest bit first
//   FOLDER   holds inputs_<name>.dat and expected_<name>.dat: "samples N values V", N * V integers, "end N"
// Runs: samples back to back; with gaps between them; a reset while samples are in flight, then all of them again.
// exit status: 0 all codes equal, 1 some differ or samples are lost, 2 a file is missing, short or malformed.
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "Vnetwork.h"
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

struct Bench {
    std::vector<End> inputs, outputs;
    std::size_t samples = 0;
    Vnetwork dut;
    std::size_t cycle = 0, latency = 0, checked = 0;
    std::deque<std::pair<std::size_t, std::size_t>> flying;  // sample, cycle in which it went in
    std::uint64_t noise = 88172645463325252ULL;

    std::uint32_t random() {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        return std::uint32_t(noise >> 16);
    }

    std::vector<std::uint32_t> row(std::size_t sample) const {
        std::size_t width = 0, place = 0;
        for (const auto &end : inputs)
            width += end.elements * end.bits;
        std::vector<std::uint32_t> words((width + 31) / 32);
        for (const auto &end : inputs)
            for (std::size_t k = 0; k < end.elements; k++)
                for (std::size_t b = 0; b < end.bits; b++, place++)
                    words[place / 32] |= std::uint32_t(end.codes[sample * end.elements + k] >> b & 1) << place % 32;
        return words;
    }

    void compare(std::size_t sample) {
        std::size_t place = 0;
        for (const auto &end : outputs)
            for (std::size_t k = 0; k < end.elements; k++) {
                long long got = 0;
                for (std::size_t b = 0; b < end.bits; b++, place++)
                    got |= (long long)(word_of(dut.out_data, place / 32) >> place % 32 & 1) << b;
                if (end.is_signed && got >> (end.bits - 1) & 1)
                    got -= 1LL << end.bits;
                const long long expected = end.codes[sample * end.elements + k];
                if (got != expected)
                    give_up(1, "first difference: sample " + std::to_string(sample) + ", " + end.name + "[" +
                                   std::to_string(k) + "]: expected " + std::to_string(expected) + ", got " +
                                   std::to_string(got));
            }
    }

    // One clock cycle; what stands at the outputs before the rising edge is compared. sample < 0 is a gap.
    void tick(long long sample, bool reset = false) {
        std::vector<std::uint32_t> idle = row(0);
        for (auto &word : idle)
            word = random();
        dut.rst = reset;
        dut.in_valid = reset || sample >= 0;
        drive(dut.in_data, sample >= 0 ? row(std::size_t(sample)) : idle);
        dut.clk = 0;
        dut.eval();
        if (dut.out_valid && !reset) {
            if (flying.empty())
                give_up(1, "a result came out for which nothing went in");
            const auto first = flying.front();
            flying.pop_front();
            if (latency == 0)
                latency = cycle - first.second;
            if (cycle - first.second != latency)
                give_up(1, "sample " + std::to_string(first.first) + " took another number of cycles than the first");
            compare(first.first);
            checked++;
        }
        if (sample >= 0 && !reset)
            flying.emplace_back(std::size_t(sample), cycle);
        dut.clk = 1;
        dut.eval();
        cycle++;
    }

    void reset() {
        for (int i = 0; i < 4; i++)
            tick(-1, true);
        flying.clear();
    }

    void drain(const std::string &run) {
        for (std::size_t i = 0; i < 4096 && !flying.empty(); i++)
            tick(-1);
        if (!flying.empty())
            give_up(1, run + ": " + std::to_string(flying.size()) + " samples never came out");
        for (int i = 0; i < 16; i++)
            tick(-1);
    }
};

int main(int argc, char **argv) {
    if (argc != 3)
        give_up(2, "usage: LAYOUT FOLDER");
    Bench bench;
    std::ifstream file(argv[1]);
    std::string line, side, folder = argv[2];
    while (std::getline(file, line)) {
        End end;
        std::istringstream words(line);
        if (!(words >> side >> end.name >> end.elements >> end.bits >> end.is_signed))
            give_up(2, "layout.txt is malformed");
        const bool input = side == "input";
        const std::size_t samples = read_vectors(end, folder + (input ? "/inputs_" : "/expected_") + end.name + ".dat");
        if (bench.samples && samples != bench.samples)
            give_up(2, "the files hold different numbers of samples");
        bench.samples = samples;
        (input ? bench.inputs : bench.outputs).push_back(end);
    }
    if (bench.inputs.empty() || bench.outputs.empty() || bench.samples == 0)
        give_up(2, "layout.txt names no inputs or outputs, or there are no samples");
    const std::size_t n = bench.samples;

    bench.reset();
    const std::size_t start = bench.cycle;
    for (std::size_t i = 0; i < n; i++)
        bench.tick((long long)i);
    const std::size_t fed = bench.cycle - start;
    bench.drain("back to back");

    for (std::size_t i = 0; i < n; i++) {
        while (bench.random() % 3 == 0)
            bench.tick(-1);
        bench.tick((long long)i);
    }
    bench.drain("with gaps");

    for (std::size_t i = 0; i < bench.latency + n % 7 + 2; i++)
        bench.tick((long long)(i % n));
    bench.reset();
    for (std::size_t i = 0; i < n; i++)
        bench.tick((long long)i);
    bench.drain("after a reset");

    std::cout << "passed: " << n << " samples in " << fed << " cycles, latency " << bench.latency << " cycles, "
              << bench.checked << " results compared" << std::endl;
    return 0;
}
