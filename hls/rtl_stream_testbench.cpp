// Simulates a streamed circuit cycle by cycle on golden vectors; arguments and status as for rtl_testbench.cpp, but every
// line of LAYOUT ends in the number of beats in which a frame of the node goes by, places row-major.
//
// Runs: frames back to back, with the cycles counted; gaps between places and between frames; with AXI4-Stream ports a
// sink that stalls as well; resets in the middle of frames, and all frames after them.
#include <algorithm>
#include <deque>
#if __has_include("Vnetwork_axis.h")
#define AXIS 1
#include "Vnetwork_axis.h"
using Circuit = Vnetwork_axis;
#else
#define AXIS 0
#include "Vnetwork.h"
using Circuit = Vnetwork;
#endif

#include "vectors.hpp"

static std::size_t beats_of(const std::string &layout, const std::string &wanted) {
    std::ifstream file(layout);
    std::string line, side, name;
    std::size_t elements, bits, sign, beats = 0;
    while (std::getline(file, line)) {
        std::istringstream words(line);
        if ((words >> side >> name >> elements >> bits >> sign >> beats) && side == wanted && beats)
            return beats;
    }
    give_up(2, "layout.txt names no beats of an " + wanted);
}

// A beat of a side: its elements' codes, lowest first.
struct Side {
    const std::vector<End> &ends;
    const std::size_t beats;

    std::size_t width() const { return width_of(ends) / beats; }

    template <class Act> void each(std::size_t sample, std::size_t beat, Act act) const {
        std::size_t place = 0;
        for (const auto &end : ends)
            for (std::size_t k = beat; k < end.elements; k += beats, place += end.bits)
                act(end, k, end.codes[sample * end.elements + k], place);
    }
};

struct Bench {
    const Vectors &vectors;
    const Side in, out;
    Circuit dut;
    Noise random;
    std::size_t cycle = 0, latency = 0, checked = 0, idle = 0;
    std::size_t number = 0, in_beat = 0, out_beat = 0;  // the frame that goes in, and where in it and in the result
    std::deque<std::pair<std::size_t, std::size_t>> flying;  // frame, cycle in which its first place went in
    std::vector<std::size_t> done;
    bool offered = false, held = false;
    std::vector<std::uint32_t> before;

    Bench(const Vectors &given, const std::string &layout)
        : vectors(given), in{given.inputs, beats_of(layout, "input")}, out{given.outputs, beats_of(layout, "output")} {}

    void clock(bool level) {
#if AXIS
        dut.aclk = level;
#else
        dut.clk = level;
#endif
        dut.eval();
    }

    void drive_inputs(bool valid, bool ready, bool reset, const std::vector<std::uint32_t> &data) {
#if AXIS
        dut.aresetn = !reset;
        dut.s_axis_tvalid = valid;
        dut.s_axis_tlast = random() & 1;
        dut.m_axis_tready = ready;
        drive(dut.s_axis_tdata, data);
#else
        dut.rst = reset;
        dut.in_valid = valid;
        drive(dut.in_data, data);
#endif
    }

#if AXIS
    bool taken() { return dut.s_axis_tvalid && dut.s_axis_tready; }
    bool shown() { return dut.m_axis_tvalid; }
    std::uint32_t word(std::size_t i) { return word_of(dut.m_axis_tdata, i); }
    bool last_right() { return bool(dut.m_axis_tlast) == (out_beat + 1 == out.beats); }
#else
    bool taken() { return dut.in_valid && dut.in_ready; }
    bool shown() { return dut.out_valid; }
    std::uint32_t word(std::size_t i) { return word_of(dut.out_data, i); }
    bool last_right() { return true; }
#endif

    // The place that is offered, with noise above it; noise only where none is.
    std::vector<std::uint32_t> data(bool valid) {
        std::vector<std::uint32_t> words(in.width() / 32 + 2);
        for (auto &one : words)
            one = random();
        if (valid)
            in.each(number % vectors.samples, in_beat, [&](const End &end, std::size_t, long long code, std::size_t low) {
                for (std::size_t b = 0; b < end.bits; b++)
                    words[(low + b) / 32] = (words[(low + b) / 32] & ~(1u << (low + b) % 32)) |
                                            std::uint32_t(code >> b & 1) << (low + b) % 32;
            });
        words.resize((AXIS ? (in.width() + 7) / 8 * 8 : in.width()) / 32 + 1);
        const std::size_t width = AXIS ? (in.width() + 7) / 8 * 8 : in.width();
        words.back() &= (1ull << width % 32) - 1;
        if (width % 32 == 0)
            words.pop_back();
        return words;
    }

    void check() {
        if (flying.empty())
            give_up(1, "a result came out for which no frame went in");
        const auto [sample, start] = flying.front();
        out.each(sample, out_beat, [&](const End &end, std::size_t k, long long expected, std::size_t low) {
            long long got = 0;
            for (std::size_t b = 0; b < end.bits; b++)
                got |= (long long)(word((low + b) / 32) >> (low + b) % 32 & 1) << b;
            if (end.is_signed && got >> (end.bits - 1) & 1)
                got -= 1LL << end.bits;
            if (got != expected)
                give_up(1, "first difference: sample " + std::to_string(sample) + ", " + end.name + "[" +
                               std::to_string(k) + "]: expected " + std::to_string(expected) + ", got " +
                               std::to_string(got));
        });
        if (!last_right())
            give_up(1, "TLAST is not at the last beat of a result");
        checked++;
        if (++out_beat < out.beats)
            return;
        out_beat = 0;
        flying.pop_front();
        done.push_back(cycle);
        if (latency == 0)
            latency = cycle - start;
    }

    std::vector<std::uint32_t> seen() {
        std::vector<std::uint32_t> words;
        for (std::size_t i = 0; shown() && i < out.width() / 32 + 1; i++)
            words.push_back(word(std::min(i, (out.width() - 1) / 32)));
        return words;
    }

    // One clock cycle; returns whether the place was taken. With AXI4-Stream ports, one that is offered stays.
    bool tick(bool offer, bool ready = true) {
        offered = offer || (AXIS && offered);
        drive_inputs(offered, ready, false, data(offered));
        clock(0);
        const auto now = seen();
        if (AXIS && held && now != before)
            give_up(1, "TVALID or TDATA changed while TREADY was low");
        held = shown() && !ready;
        before = now;
        if (shown() && (ready || !AXIS))
            check();
        const bool took = taken();
        idle = took || shown() ? 0 : idle + 1;
        if (took) {
            if (in_beat == 0)
                flying.emplace_back(number % vectors.samples, cycle);
            in_beat = (in_beat + 1) % in.beats;
            number += in_beat == 0;
            offered = false;
        }
        clock(1);
        cycle++;
        return took;
    }

    void reset() {
        for (int i = 0; i < 4; i++) {
            drive_inputs(true, i % 2, true, data(false));
            clock(0);
            if (i && (shown() || taken()))
                give_up(1, "a token is taken or given in reset");
            clock(1);
            cycle++;
        }
        flying.clear();
        done.clear();
        number = in_beat = out_beat = idle = 0;
        offered = held = false;
        tick(false);
    }

    // Frames that are offered without a gap, or in 8 - gaps of 8 cycles with a pause before some; the sink stalls in
    // `slow` of 8 cycles.
    void frames(std::size_t count, std::size_t gaps, std::size_t slow, const std::string &run) {
        for (const std::size_t end = number + count; number < end;) {
            if (gaps && in_beat == 0 && random() % 4 == 0)
                for (std::size_t i = random() % (2 * in.beats + 8); i > 0; i--)
                    tick(false, random() % 8 >= slow);
            tick(random() % 8 >= gaps, random() % 8 >= slow);
            if (idle > 1000000)
                give_up(1, run + ": nothing moves any more");
        }
        while (!flying.empty() && idle < 1000000)
            tick(false);
        if (!flying.empty())
            give_up(1, run + ": " + std::to_string(flying.size()) + " frames never came out");
        for (int i = 0; i < 64; i++)
            tick(false);
    }
};

int main(int argc, char **argv) {
    if (argc != 3)
        give_up(2, "usage: LAYOUT FOLDER");
    const Vectors vectors(argv[1], argv[2]);
    Bench bench(vectors, argv[1]);
    const std::size_t n = std::max<std::size_t>(vectors.samples, 6);
    const std::size_t some = std::max<std::size_t>(6, std::min(vectors.samples, 200000 / bench.in.beats));

    bench.reset();
    const std::size_t start = bench.cycle;
    bench.frames(n, 0, 0, "back to back");
    const std::size_t spent = bench.done.back() - start;
    std::size_t interval = 0;  // between the results of frames, once the circuit is full
    for (std::size_t i = n / 2; i < n; i++)
        interval = std::max(interval, bench.done[i] - bench.done[i - 1]);

    bench.frames(some, 3, 0, "with gaps");
    if (AXIS) {
        bench.frames(some, 0, 4, "with a slow sink");
        bench.frames(some, 4, 4, "with stalls on both sides");
    }
    for (int i = 0; i < 8; i++) {
        const std::size_t many = 1 + bench.random() % (2 * bench.in.beats + bench.latency);
        for (std::size_t j = 0; j < many; j++)
            bench.tick(true, bench.random() % 8 >= 3);
        bench.reset();
    }
    bench.frames(some, 0, 0, "after resets");

    std::cout << "passed: " << n << " samples in " << spent << " cycles, latency " << bench.latency
              << " cycles, interval " << interval << " cycles, " << bench.checked << " results compared" << std::endl;
    return 0;
}
