// Simulates a circuit with AXI4-Stream ports cycle by cycle on golden vectors; arguments and status as for the plain one.
//
// Runs: source and sink always ready, with the cycles counted; stalls at random on either side and on both; a sink that
// stalls until the source is stopped, then takes a word in every cycle; a reset while words wait, then all of them again.
// In every cycle: TVALID, TDATA and TLAST do not depend on TREADY, and stay while TREADY is low.
#include <deque>

#include "Vnetwork_axis.h"
#include "vectors.hpp"

struct Word {
    std::size_t sample, cycle;
    bool last;
};

struct Bench {
    const Vectors &vectors;
    Vnetwork_axis dut;
    std::size_t cycle = 0, latency = 0, number = 0, checked = 0;
    bool offered = false, last = false, held = false, accepted = false;
    std::vector<std::uint32_t> before;
    std::deque<Word> flying;
    Noise random;

    explicit Bench(const Vectors &given) : vectors(given) {}

    // The word offered with noise above it, or noise only.
    std::vector<std::uint32_t> data() {
        const std::size_t width = width_of(vectors.inputs), padded = (width + 7) / 8 * 8;
        std::vector<std::uint32_t> words = vectors.row(number % vectors.samples);
        for (std::size_t b = offered ? width : 0; b < padded; b++)
            words[b / 32] = (words[b / 32] & ~(1u << b % 32)) | (random() & 1) << b % 32;
        return words;
    }

    std::vector<std::uint32_t> seen() {
        dut.eval();
        if (!dut.m_axis_tvalid)
            return {};
        std::vector<std::uint32_t> words{dut.m_axis_tlast};
        for (std::size_t i = 0; i < (width_of(vectors.outputs) + 31) / 32; i++)
            words.push_back(word_of(dut.m_axis_tdata, i));
        return words;
    }

    void check() {
        if (flying.empty())
            give_up(1, "a word came out for which none went in");
        const Word word = flying.front();
        flying.pop_front();
        vectors.compare(word.sample, dut.m_axis_tdata);
        const std::size_t width = width_of(vectors.outputs);
        for (std::size_t b = width; b < (width + 7) / 8 * 8; b++)
            if (word_of(dut.m_axis_tdata, b / 32) >> b % 32 & 1)
                give_up(1, "a bit above the codes is set");
        if (bool(dut.m_axis_tlast) != word.last)
            give_up(1, "TLAST came out with another word, at sample " + std::to_string(word.sample));
        if (latency == 0)
            latency = cycle - word.cycle;
        if (cycle - word.cycle < latency)
            give_up(1, "a word took fewer cycles than the first");
        checked++;
    }

    // One clock cycle; a word once offered stays until it is taken.
    void tick(bool offer, bool take) {
        if (!offered && offer) {
            offered = true;
            last = random() % 4 == 0;
        }
        dut.s_axis_tvalid = offered;
        dut.s_axis_tlast = offered ? last : random() & 1;
        drive(dut.s_axis_tdata, data());
        dut.aclk = 0;
        dut.m_axis_tready = !take;
        const auto other = seen();
        dut.m_axis_tready = take;
        const auto now = seen();
        if (now != other)
            give_up(1, "an output depends on TREADY");
        if (held && now != before)
            give_up(1, "TVALID, TDATA or TLAST changed while TREADY was low");
        if (!now.empty() && take)
            check();
        held = !now.empty() && !take;
        before = now;
        accepted = offered && dut.s_axis_tready;
        if (accepted) {
            flying.push_back({number++ % vectors.samples, cycle, last});
            offered = false;
        }
        dut.aclk = 1;
        dut.eval();
        cycle++;
    }

    // A reset of four cycles, in which the source offers noise and nothing may be taken or given.
    void reset() {
        offered = held = false;
        dut.aresetn = 0;
        for (int i = 0; i < 4; i++) {
            dut.s_axis_tvalid = 1;
            dut.m_axis_tready = i % 2;
            dut.aclk = 0;
            dut.eval();
            if (i && (dut.m_axis_tvalid || dut.s_axis_tready))
                give_up(1, "TVALID or TREADY is high in reset");
            dut.aclk = 1;
            dut.eval();
            cycle++;
        }
        dut.aresetn = 1;
        flying.clear();
        number = 0;
        tick(false, true);
    }

    void drain(const std::string &run) {
        for (std::size_t i = 0; i < 8192 && (offered || !flying.empty()); i++)
            tick(false, true);
        if (offered || !flying.empty())
            give_up(1, run + ": " + std::to_string(flying.size()) + " words never came out");
        for (int i = 0; i < 64; i++)
            tick(false, true);
    }

    // All samples at full speed: taken in as many cycles, the last given `latency` cycles after it went in.
    std::size_t stream() {
        const std::size_t start = cycle, seen_before = checked, n = vectors.samples;
        while (number < n && cycle - start < n + 8)
            tick(true, true);
        const std::size_t fed = cycle - start;
        if (number != n || fed != n)
            give_up(1, "the source was stalled although the sink never was");
        while (checked - seen_before < n && cycle - start < n + 8192)
            tick(false, true);
        if (checked - seen_before != n || cycle - start != n + latency)
            give_up(1, std::to_string(n) + " samples took " + std::to_string(cycle - start) + " cycles, " +
                           std::to_string(checked - seen_before) + " came out");
        drain("at full speed");
        return fed;
    }

    // Stalls: the source idles in `idle` of 8 cycles, the sink in `slow` of 8.
    void stalls(std::size_t idle, std::size_t slow) {
        const std::size_t wanted = number + vectors.samples;
        for (std::size_t i = 0; i < 64 * (vectors.samples + 64) && number < wanted; i++)
            tick(random() % 8 >= idle, random() % 8 >= slow);
        if (number < wanted)
            give_up(1, "with stalls: the source is stopped for ever");
        drain("with stalls");
    }

    // Back-pressure: the words held, after which every cycle gives one.
    std::size_t pressure() {
        std::size_t stopped = 0;
        for (std::size_t i = 0; i < 65536 && stopped < 64; i++) {
            tick(true, false);
            stopped = accepted ? 0 : stopped + 1;
        }
        if (stopped < 64)
            give_up(1, "the source is never stopped by a sink that takes nothing");
        const std::size_t kept = flying.size(), seen_before = checked, cycles = 4 * kept + 64;
        for (std::size_t i = 0; i < cycles; i++)
            tick(true, true);
        if (checked - seen_before != cycles)
            give_up(1, "after back-pressure " + std::to_string(checked - seen_before) + " words came out in " +
                           std::to_string(cycles) + " cycles");
        drain("after back-pressure");
        return kept;
    }
};

int main(int argc, char **argv) {
    if (argc != 3)
        give_up(2, "usage: LAYOUT FOLDER");
    const Vectors vectors(argv[1], argv[2]);
    Bench bench(vectors);

    bench.reset();
    const std::size_t fed = bench.stream();
    bench.stalls(3, 0);
    bench.stalls(0, 3);
    bench.stalls(4, 4);
    bench.stalls(1, 7);
    const std::size_t kept = bench.pressure();

    for (std::size_t i = 0; i < 2 * kept + 16; i++)
        bench.tick(true, i < bench.latency + 3);
    bench.reset();
    bench.stream();
    if (bench.pressure() != kept)
        give_up(1, "after a reset another number of words is held");

    std::cout << "passed: " << vectors.samples << " samples in " << fed << " cycles, latency " << bench.latency
              << " cycles, " << bench.checked << " results compared, " << kept << " words held under back-pressure"
              << std::endl;
    return 0;
}
