/* Runs a network's C on golden vectors, compares every code, and measures the calls.
 *
 * tb_data/ holds inputs_<name>.dat and expected_<name>.dat: "samples N values V", N * V integers, "end N"
 * test_network.h gives INPUTS(X) and OUTPUTS(X), which list X(type, identifier, name, count), and CALL.
 * exit status: 0 all codes equal, 1 some differ, 2 a file is missing, short or malformed, 3 the core faulted.
 * With MEASURE each call's ticks and some calls' stack are told, without it how long calls take on the port's clock.
 * With SHOW the codes of OUTPUTS are printed instead of compared, and there are no expected files.
 * Where test_network.h has MANY(count), which runs that many samples from arrays m_<identifier> of whole samples, it is
 * run on blocks of all vectors as well, must give the codes of CALL, and is timed too. */
#include "port.h"
#include "test_network.h"

#define DECLARE(type, id, name, count)                                                                                \
    static type v_##id[count];                                                                                        \
    static port_file f_##id;
INPUTS(DECLARE)
OUTPUTS(DECLARE)

static uint32_t samples, sample, codes, wrong;

static void say(const char *text, int64_t number) {
    char digits[22], *at = digits + sizeof digits - 1;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    port_text(text);
    *at = 0;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        *--at = '-';
    port_text(at);
}

static void give_up(const char *name, const char *what) {
    port_text("ERROR: ");
    port_text(name);
    port_text(what);
    port_exit(2);
}

/* The next word of a file, which must be `word`. */
static void expect(port_file *file, const char *word, const char *name, const char *what) {
    int c;
    do
        c = port_byte(file);
    while (c == ' ' || c == '\n');
    for (; *word; word++, c = port_byte(file))
        if (c != *word)
            give_up(name, what);
}

static int64_t integer(port_file *file, const char *name) {
    int c, negative, digits = 0;
    uint32_t low = 0;
    uint64_t value = 0;
    do
        c = port_byte(file);
    while (c == ' ' || c == '\n');
    negative = c == '-';
    if (negative)
        c = port_byte(file);
    for (; c >= '0' && c <= '9'; c = port_byte(file))
        if (digits++ < 9)
            value = low = low * 10 + (uint32_t)(c - '0');
        else
            value = value * 10 + (uint32_t)(c - '0');
    if (digits == 0 || digits > 19 || (c != ' ' && c != '\n' && c != -1))
        give_up(name, ": its file is short or malformed\n");
    return negative ? -(int64_t)value : (int64_t)value;
}

static void opened(port_file *file, const char *path, const char *name, uint32_t count) {
    if (!port_open(file, path))
        give_up(name, ": its file cannot be read\n");
    expect(file, "samples", name, ": its file does not start with its counts\n");
    int64_t n = integer(file, name);
    expect(file, "values", name, ": its file does not start with its counts\n");
    if (n <= 0 || n > 0x7fffffff || integer(file, name) != (int64_t)count)
        give_up(name, ": its file does not start with its counts\n");
    if (samples && (uint32_t)n != samples)
        give_up(name, ": the vector files differ in length\n");
    samples = (uint32_t)n;
}

static void closed(port_file *file, const char *name) {
    int c;
    expect(file, "end", name, ": its file is short or malformed\n");
    if (integer(file, name) != (int64_t)samples)
        give_up(name, ": its file is short or malformed\n");
    while ((c = port_byte(file)) != -1)
        if (c != ' ' && c != '\n')
            give_up(name, ": its file is short or malformed\n");
}

static void differs(const char *name, uint32_t index, int64_t expected, int64_t got) {
    if (wrong++)
        return;
    say("first difference: sample ", sample);
    port_text(", ");
    port_text(name);
    say("[", index);
    say("]: expected ", expected);
    say(", got ", got);
    port_text("\n");
}

#define OPEN_INPUT(type, id, name, count) opened(&f_##id, "tb_data/inputs_" name ".dat", name, count);
#define OPEN_OUTPUT(type, id, name, count) opened(&f_##id, "tb_data/expected_" name ".dat", name, count);
#define CLOSE(type, id, name, count) closed(&f_##id, name);
#define FEED(type, id, name, count)                                                                                   \
    for (uint32_t i = 0; i < count; i++) {                                                                            \
        int64_t given = integer(&f_##id, name);                                                                       \
        v_##id[i] = (type)given;                                                                                      \
        if ((int64_t)v_##id[i] != given)                                                                              \
            give_up(name, ": a code is out of range\n");                                                              \
    }
#define COMPARE(type, id, name, count)                                                                                \
    for (uint32_t i = 0; i < count; i++, codes++) {                                                                   \
        int64_t expected = integer(&f_##id, name);                                                                    \
        if ((int64_t)v_##id[i] != expected)                                                                           \
            differs(name, i, expected, (int64_t)v_##id[i]);                                                           \
    }
#define PRINT(type, id, name, count)                                                                                  \
    port_text("codes " name);                                                                                         \
    for (uint32_t i = 0; i < count; i++, codes++)                                                                     \
        say(" ", (int64_t)v_##id[i]);                                                                                 \
    port_text("\n");

/* ---- many samples in one call ---- */

#ifdef MANY
#define BLOCK 256
#define DECLARE_MANY(type, id, name, count) static type m_##id[BLOCK * count];
#define DECLARE_ONES(type, id, name, count) static type e_##id[BLOCK * count];
#define KEEP(array, type, id, count)                                                                                  \
    for (uint32_t i = 0; i < count; i++)                                                                              \
        array##_##id[kept * count + i] = v_##id[i];
#define KEEP_INPUT(type, id, name, count) KEEP(m, type, id, count)
#define KEEP_OUTPUT(type, id, name, count) KEEP(e, type, id, count)
#define COMPARE_MANY(type, id, name, count)                                                                           \
    for (uint32_t i = n * count; i < (n + 1) * count; i++)                                                            \
        if (m_##id[i] != e_##id[i])                                                                                   \
            differs(name ", many at a time", i - n * count, (int64_t)e_##id[i], (int64_t)m_##id[i]);
#define REPEAT(type, id, name, count)                                                                                 \
    for (uint32_t i = held * count; i < BLOCK * count; i++)                                                           \
        m_##id[i] = m_##id[i - held * count];
INPUTS(DECLARE_MANY)
OUTPUTS(DECLARE_MANY)
OUTPUTS(DECLARE_ONES)
static uint32_t kept, held;

static void many(void) {
    INPUTS(KEEP_INPUT)
    OUTPUTS(KEEP_OUTPUT)
    kept++;
    if (kept < BLOCK && sample + 1 < samples)
        return;
    MANY(kept);
    sample -= kept - 1;
    for (uint32_t n = 0; n < kept; n++, sample++) {
        OUTPUTS(COMPARE_MANY)
    }
    sample--;
    held = kept;
    kept = 0;
}

static void tell_many(void) {
    uint32_t calls = 0, start, took;
    INPUTS(REPEAT)
    start = port_now();
    do {
        MANY(BLOCK);
        calls += BLOCK;
        took = port_now() - start;
    } while (took < 200000000u);
    say("many: ", calls);
    say(" samples in ", took);
    port_text(" ns\n");
}
#else
static void many(void) {}
#endif

/* ---- the call, its ticks and its stack ---- */

#ifdef MEASURE
#define PAINT 0xA5
static uint32_t stack_most, ticks_most, ticks_least = 0xffffffff;
static uint64_t ticks;

/* The stack below its newest byte is filled before the call and looked through afterwards; nothing interrupts it. */
static void stack_of_call(void) {
    volatile uint8_t *limit = (volatile uint8_t *)port_stack_limit, *at;
    const uintptr_t top = port_stack();
    port_quiet(1);
    for (at = limit; (uintptr_t)at < top; at++)
        *at = PAINT;
    CALL;
    for (at = limit; (uintptr_t)at < top && *at == PAINT; at++)
        ;
    port_quiet(0);
    if (at == limit)
        give_up("stack", ": it meets the static data, or is deeper than 128 kB\n");
    if (top - (uintptr_t)at > stack_most)
        stack_most = (uint32_t)(top - (uintptr_t)at);
}

static void measured(void) {
    uint32_t start, took;
    if ((sample & (sample - 1)) == 0)
        stack_of_call(); /* of samples 0, 1, 2, 4, 8, ... */
    start = port_now();
    CALL;
    took = port_now() - start;
    ticks += took;
    if (took > ticks_most)
        ticks_most = took;
    if (took < ticks_least)
        ticks_least = took;
}

static void tell(void) {
    uint32_t start = port_now(), nothing = port_now() - start, block;
    start = port_now();
    port_block();
    block = port_now() - start;
    say("ticks: ", (int64_t)ticks);
    say(" in all, ", ticks_least);
    say(" to ", ticks_most);
    say(" a call, ", nothing);
    say(" for none, ", block);
    say(" for the block; stack: ", stack_most);
    port_text(" bytes\n");
}
#else
static void measured(void) { CALL; }

/* The last vector again and again, for a fifth of a second. */
static void tell(void) {
    uint32_t calls = 0, start = port_now(), took;
    do {
        for (uint32_t k = 0; k < 64; k++, calls++) {
            CALL;
        }
        took = port_now() - start;
    } while (took < 200000000u);
    say("speed: ", calls);
    say(" calls in ", took);
    port_text(" ns\n");
#ifdef MANY
    tell_many();
#endif
}
#endif

int main(void) {
    port_start();
    INPUTS(OPEN_INPUT)
#ifndef SHOW
    OUTPUTS(OPEN_OUTPUT)
#endif
    for (sample = 0; sample < samples; sample++) {
        INPUTS(FEED)
        measured();
        many();
#ifdef SHOW
        OUTPUTS(PRINT)
#else
        OUTPUTS(COMPARE)
#endif
    }
    INPUTS(CLOSE)
#ifndef SHOW
    OUTPUTS(CLOSE)
#endif
    tell();
    say("", samples);
    say(" samples: ", wrong);
    say(" of ", codes);
    port_text(" codes differ\n");
    port_exit(wrong > 0 || codes == 0);
    return 2;
}
