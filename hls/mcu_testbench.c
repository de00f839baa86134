/* Runs a network's C on golden vectors and compares every code.
 *
 * argument: FOLDER, which holds inputs_<name>.dat and expected_<name>.dat: "samples N values V", N * V integers, "end N"
 * test_network.h gives INPUTS(X) and OUTPUTS(X), which list X(type, identifier, name, count), and CALL.
 * exit status: 0 all codes equal, 1 some differ, 2 a file is missing, short or malformed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "test_network.h"

#define DECLARE(type, id, name, count) static type v_##id[count]; static FILE *f_##id;
INPUTS(DECLARE)
OUTPUTS(DECLARE)

static long samples = 0;

static void give_up(const char *name, const char *what) {
    fprintf(stderr, "ERROR: %s: %s\n", name, what);
    exit(2);
}

static FILE *opened(const char *folder, const char *side, const char *name, long count) {
    char path[4096];
    long n, width;
    FILE *file;
    if (snprintf(path, sizeof path, "%s/%s_%s.dat", folder, side, name) >= (int)sizeof path)
        give_up(name, "its path is too long");
    file = fopen(path, "r");
    if (!file)
        give_up(path, "cannot be read");
    if (fscanf(file, "samples %ld values %ld", &n, &width) != 2 || n <= 0 || width != count)
        give_up(path, "does not start with its counts");
    if (samples && n != samples)
        give_up(path, "the vector files differ in length");
    samples = n;
    return file;
}

static long long code(FILE *file, const char *name) {
    long long value;
    if (fscanf(file, "%lld", &value) != 1)
        give_up(name, "its file is short or malformed");
    return value;
}

static void closed(FILE *file, const char *name) {
    long n;
    char rest;
    if (fscanf(file, " end %ld", &n) != 1 || n != samples || fscanf(file, " %c", &rest) == 1)
        give_up(name, "its file is short or malformed");
    fclose(file);
}

#define OPEN_INPUT(type, id, name, count) f_##id = opened(argv[1], "inputs", name, count);
#define OPEN_OUTPUT(type, id, name, count) f_##id = opened(argv[1], "expected", name, count);
#define CLOSE(type, id, name, count) closed(f_##id, name);
#define FEED(type, id, name, count)                                                                                   \
    for (long i = 0; i < count; i++) {                                                                                \
        long long given = code(f_##id, name);                                                                         \
        v_##id[i] = (type)given;                                                                                      \
        if ((long long)v_##id[i] != given)                                                                            \
            give_up(name, "a code is out of range");                                                                  \
    }
#define COMPARE(type, id, name, count)                                                                                \
    for (long i = 0; i < count; i++, codes++) {                                                                       \
        long long expected = code(f_##id, name);                                                                      \
        if ((long long)v_##id[i] != expected && wrong++ == 0)                                                         \
            printf("first difference: sample %ld, %s[%ld]: expected %lld, got %lld\n", n, name, i, expected,          \
                   (long long)v_##id[i]);                                                                             \
    }

int main(int argc, char **argv) {
    long wrong = 0, codes = 0;
    if (argc != 2)
        give_up("argument", "FOLDER is wanted");
    INPUTS(OPEN_INPUT)
    OUTPUTS(OPEN_OUTPUT)
    for (long n = 0; n < samples; n++) {
        INPUTS(FEED)
        CALL;
        OUTPUTS(COMPARE)
    }
    INPUTS(CLOSE)
    OUTPUTS(CLOSE)
    printf("%ld samples: %ld of %ld codes differ\n", samples, wrong, codes);
    return wrong > 0 || codes == 0;
}
