#ifndef EDGECOMP_TESTBENCH_H_
#define EDGECOMP_TESTBENCH_H_

// Drives a circuit with golden vectors and compares every code.
//
// arguments: [--data FOLDER] [--dump FOLDER] [--trace FILE]
//   --data FOLDER   where inputs_<name>.dat and expected_<name>.dat are (default: tb_data)
//   --dump FOLDER   write got_<name>.dat there instead of comparing; no expected files are read
//   --trace FILE    write every layer's values (compiled with EDGECOMP_TRACE_VALUES)
// exit status: 0 all codes equal (or dumped), 1 some differ, 2 a file is missing, short or malformed.
//
// A vector file starts with a line "samples N values V", followed by N * V integers, one sample a line, in the order of
// the contract, and a line "end N". A weight file holds the integers of one constant array, separated by commas.

#include "edgecomp_trace.h"
#include "hls_stream.h"
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#ifndef WEIGHTS_DIR
#define WEIGHTS_DIR "weights"
#endif

namespace edgecomp {

[[noreturn]] inline void give_up(const std::string &what) {
    std::cerr << "ERROR: " << what << std::endl;
    std::exit(2);
}

inline std::string text_of(const std::string &path) {
    std::ifstream file(path.c_str(), std::ios::binary);
    if (!file)
        give_up(path + " cannot be read");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// Integers separated by blanks and, where `comma`, single commas; anything else is an error.
inline std::vector<long long> integers_of(const std::string &path, const char *text, bool comma) {
    std::vector<long long> found;
    while (true) {
        while (std::isspace((unsigned char)*text))
            text++;
        if (*text == '\0')
            return found;
        if (comma && !found.empty() && *text == ',')
            text++;
        char *end;
        errno = 0;
        long long value = std::strtoll(text, &end, 10);
        if (end == text || errno != 0)
            give_up(path + " holds something that is no integer");
        found.push_back(value);
        text = end;
    }
}

// The codes of one port for every sample.
struct Vectors {
    std::string name, path;
    long long samples, values;
    std::vector<long long> codes;
};

inline Vectors read_vectors(const std::string &folder, const std::string &kind, const std::string &name, long long values) {
    Vectors vectors;
    vectors.name = name;
    vectors.path = folder + "/" + kind + "_" + name + ".dat";
    std::string text = text_of(vectors.path);
    int length = 0;
    if (std::sscanf(text.c_str(), "samples %lld values %lld%n", &vectors.samples, &vectors.values, &length) != 2)
        give_up(vectors.path + " does not start with its counts");
    if (vectors.samples < 1 || vectors.values != values)
        give_up(vectors.path + " does not hold samples of " + std::to_string(values) + " values");
    std::string end = "\nend " + std::to_string(vectors.samples) + "\n";
    if (text.size() < end.size() + length || text.compare(text.size() - end.size(), end.size(), end) != 0)
        give_up(vectors.path + " does not close with \"end " + std::to_string(vectors.samples) + "\": it is short or altered");
    text.resize(text.size() - end.size());
    vectors.codes = integers_of(vectors.path, text.c_str() + length, false);
    if ((long long)vectors.codes.size() != vectors.samples * vectors.values)
        give_up(vectors.path + " states " + std::to_string(vectors.samples * vectors.values) + " codes and holds " +
                std::to_string(vectors.codes.size()));
    return vectors;
}

class Testbench {
  public:
    Testbench(int argc, char **argv) {
        for (int i = 1; i < argc; i += 2) {
            std::string option = argv[i];
            if (i + 1 == argc || (option != "--data" && option != "--dump" && option != "--trace"))
                give_up("usage: [--data FOLDER] [--dump FOLDER] [--trace FILE]");
            (option == "--data" ? data : option == "--dump" ? dump : trace) = argv[i + 1];
        }
#ifdef EDGECOMP_TRACE_VALUES
        trace_file().open(trace.c_str(), std::ios::binary);
#endif
    }

    // The constant array of type T that synthesis compiles in must hold what the C simulation reads from its text file.
    template <class T, size_t N> void weights(const char *name, const long long (&compiled)[N]) {
        std::string path = std::string(WEIGHTS_DIR) + "/" + name + ".txt";
        std::vector<long long> text = integers_of(path, text_of(path).c_str(), true);
        if (text.size() != N)
            give_up(path + " holds " + std::to_string(text.size()) + " integers, the header " + std::to_string(N));
        for (size_t i = 0; i < N; i++)
            if (compiled[i] != text[i] || T(text[i]).to_int64() != text[i])
                give_up(path + " and its header or its type differ at entry " + std::to_string(i));
        constants += N;
    }

    void input(const char *name, long long values) {
        inputs.push_back(read_vectors(data, "inputs", name, values));
        if (inputs.back().samples != inputs.front().samples)
            give_up(inputs.back().path + " holds another number of samples than " + inputs.front().path);
    }

    void output(const char *name, long long values) {
        Vectors got;
        got.name = name;
        got.values = values;
        got.samples = inputs.front().samples;
        outputs.push_back(dump.empty() ? read_vectors(data, "expected", name, values) : got);
        if (outputs.back().samples != inputs.front().samples)
            give_up(outputs.back().path + " holds another number of samples than " + inputs.front().path);
    }

    bool next() { return ++sample < inputs.front().samples; }

    // A port that is an array, in the order of the file.
    template <class T, size_t N> void feed(unsigned port, T (&to)[N], unsigned) {
        for (size_t i = 0; i < N; i++)
            to[i] = code<T>(port, i);
    }

    // A port that is a stream: one beat for each place, which holds its channels; the file has channels first.
    template <class T> void feed(unsigned port, hls::stream<T> &to, unsigned channels) {
        size_t places = inputs[port].values / channels;
        for (size_t place = 0; place < places; place++) {
            T beat;
            for (size_t c = 0; c < channels; c++)
                beat[c] = code<typename T::value_type>(port, c * places + place);
            to.write(beat);
        }
    }

    template <class T, size_t N> void check(unsigned port, T (&from)[N], unsigned) {
        for (size_t i = 0; i < N; i++)
            take(port, i, from[i].to_int64());
    }

    template <class T> void check(unsigned port, hls::stream<T> &from, unsigned channels) {
        size_t places = outputs[port].values / channels;
        std::vector<long long> got(places * channels);
        for (size_t place = 0; place < places; place++) {
            if (from.empty())
                give_up("sample " + std::to_string(sample) + ": output " + outputs[port].name + " gives too few beats");
            T beat = from.read();
            for (size_t c = 0; c < channels; c++)
                got[c * places + place] = beat[c].to_int64();
        }
        if (!from.empty())
            give_up("sample " + std::to_string(sample) + ": output " + outputs[port].name + " gives too many beats");
        for (size_t i = 0; i < got.size(); i++)
            take(port, i, got[i]);
    }

    int finish() {
        if (!dump.empty())
            return write_dump();
        std::cout << inputs.front().samples << " samples, " << compared << " codes compared, " << differing << " differ; "
                  << constants << " constants equal in text and headers" << std::endl;
        if (differing != 0)
            std::cout << "first difference: " << first << std::endl;
        std::cout << (differing == 0 ? "PASSED" : "FAILED") << std::endl;
        return differing == 0 ? 0 : 1;
    }

  private:
    template <class T> T code(unsigned port, size_t i) {
        long long value = inputs[port].codes[sample * inputs[port].values + i];
        if (T(value).to_int64() != value)
            give_up(inputs[port].path + ": sample " + std::to_string(sample) + " holds " + std::to_string(value) +
                    ", which the port cannot take");
        return T(value);
    }

    void take(unsigned port, size_t i, long long got) {
        Vectors &vectors = outputs[port];
        if (!dump.empty()) {
            vectors.codes.push_back(got);
            return;
        }
        long long expected = vectors.codes[sample * vectors.values + i];
        compared++;
        if (got != expected && differing++ == 0)
            first = "sample " + std::to_string(sample) + ", output " + vectors.name + ", element " + std::to_string(i) +
                    ": expected " + std::to_string(expected) + ", got " + std::to_string(got);
    }

    int write_dump() {
        for (size_t port = 0; port < outputs.size(); port++) {
            std::string path = dump + "/got_" + outputs[port].name + ".dat";
            std::ofstream file(path.c_str(), std::ios::binary);
            file << "samples " << outputs[port].samples << " values " << outputs[port].values << '\n';
            for (size_t i = 0; i < outputs[port].codes.size(); i++)
                file << outputs[port].codes[i] << ((i + 1) % outputs[port].values == 0 ? '\n' : ' ');
            file << "end " << outputs[port].samples << '\n';
            if (!file.flush())
                give_up(path + " cannot be written");
        }
        return 0;
    }

    std::string data = "tb_data", dump, trace, first;
    std::vector<Vectors> inputs, outputs;
    long long sample = -1, compared = 0, differing = 0, constants = 0;
};

} // namespace edgecomp

#endif
