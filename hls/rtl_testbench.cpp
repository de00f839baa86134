// Simulates a pipelined circuit cycle by cycle on golden vectors and compares every code.
//
// arguments: LAYOUT FOLDER
//   LAYOUT   one line a node: input|output NAME ELEMENTS BITS SIGNED, in the order of the data buses, lowest bit first
//   FOLDER   holds inputs_<name>.dat and expected_<name>.dat: "samples N values V", N * V integers, "end N"
// Runs: samples back to back; with gaps between them; a reset while samples are in flight, then all of them again.
// exit status: 0 all codes equal, 1 some differ or samples are lost, 2 a file is missing, short or malformed.
#include <deque>

#include "Vnetwork.h"
#include "vectors.hpp"

struct Bench {
    const Vectors &vectors;
    Vnetwork dut;
    std::size_t cycle = 0, latency = 0, checked = 0;
    std::deque<std::pair<std::size_t, std::size_t>> flying;  // sample, cycle in which it went in
    Noise random;

    explicit Bench(const Vectors &given) : vectors(given) {}

    // One clock cycle; what stands at the outputs before the rising edge is compared. sample < 0 is a gap.
    void tick(long long sample, bool reset = false) {
        std::vector<std::uint32_t> idle = vectors.row(0);
        for (auto &word : idle)
            word = random();
        dut.rst = reset;
        dut.in_valid = reset || sample >= 0;
        drive(dut.in_data, sample >= 0 ? vectors.row(std::size_t(sample)) : idle);
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
            vectors.compare(first.first, dut.out_data);
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
    const Vectors vectors(argv[1], argv[2]);
    Bench bench(vectors);
    const std::size_t n = vectors.samples;

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
