// Simulates a mapped netlist on golden vectors, 64 at a time, and compares every code.
//
// arguments: PORTS CELLS NETLIST FOLDER
//   PORTS    one line a port: input|output NAME ELEMENTS BITS SIGNED; of a clocked machine also
//            register NAME ..., next NAME_next ..., start NAME ..., done NAME ... and at the end "cycles N":
//            N cycles after one in which start is high, done is high and the outputs hold
//   CELLS    Verilog models: module NAME (input a, ..., output O); assign O = EXPRESSION of ~ & | ( ); endmodule
//   NETLIST  one module; one instance a line, CELL name (.pin(net), ..., .O(net)); and assign net = net;
//   FOLDER   holds inputs_<name>.dat and expected_<name>.dat: "samples N values V", N * V integers,
//            "end N"
// exit status: 0 all codes equal, 1 some differ, 2 a file is missing, short or malformed.
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

typedef std::uint64_t Lanes;
typedef std::map<std::string, Lanes> Values;

[[noreturn]] static void give_up(const std::string &what) {
    std::cerr << "ERROR: " << what << std::endl;
    std::exit(2);
}

struct Port {
    std::string use, name;
    std::size_t elements, bits;
    bool is_signed;
    std::vector<long long> codes;
    std::size_t samples;

    bool has_codes() const { return use == "input" || use == "output"; }
};

struct Cell {
    std::vector<std::string> pins;
    std::string expression;
};

struct Instance {
    const Cell *cell;
    std::map<std::string, std::string> nets;
    std::string output;
};

// EXPRESSION := TERM { "|" TERM }, TERM := FACTOR { "&" FACTOR }, FACTOR := "~" FACTOR | "(" EXPRESSION ")" | pin
struct Expression {
    const char *at;
    const Values &pins;

    char next() {
        while (std::isspace((unsigned char)*at))
            at++;
        return *at;
    }
    Lanes either() {
        Lanes value = both();
        while (next() == '|') {
            at++;
            value |= both();
        }
        return value;
    }
    Lanes both() {
        Lanes value = factor();
        while (next() == '&') {
            at++;
            value &= factor();
        }
        return value;
    }
    Lanes factor() {
        if (next() == '~') {
            at++;
            return ~factor();
        }
        if (*at == '(') {
            at++;
            Lanes value = either();
            if (next() != ')')
                give_up("a cell's expression lacks a parenthesis");
            at++;
            return value;
        }
        std::string pin;
        while (std::isalnum((unsigned char)*at) || *at == '_')
            pin += *at++;
        Values::const_iterator found = pins.find(pin);
        if (found == pins.end())
            give_up("a cell's expression names " + pin + ", which is no pin");
        return found->second;
    }
};

static std::ifstream opened(const std::string &path) {
    std::ifstream file(path.c_str());
    if (!file)
        give_up(path + " cannot be read");
    return file;
}

static std::vector<Port> read_ports(const std::string &path, std::size_t &cycles) {
    std::ifstream file = opened(path);
    std::vector<Port> ports;
    std::string line;
    while (std::getline(file, line)) {
        std::istringstream words(line);
        Port port = Port();
        if (words >> port.use && port.use == "cycles" ? !(words >> cycles) || cycles == 0
                                                      : !(words >> port.name >> port.elements >> port.bits >> port.is_signed))
            give_up(path + " has a malformed line: " + line);
        if (port.use != "cycles")
            ports.push_back(port);
    }
    return ports;
}

static void read_codes(Port &port, const std::string &folder) {
    std::string path = folder + (port.use == "input" ? "/inputs_" : "/expected_") + port.name + ".dat";
    std::ifstream file = opened(path);
    std::string samples, values;
    std::size_t width;
    if (!(file >> samples >> port.samples >> values >> width) || width != port.elements)
        give_up(path + " does not start with its counts");
    long long code;
    while (port.codes.size() < port.samples * port.elements && file >> code)
        port.codes.push_back(code);
    std::string end, rest;
    std::size_t count = 0;
    if (!(file >> end >> count) || end != "end" || count != port.samples || file >> rest || port.samples == 0)
        give_up(path + " is short or malformed");
}

static std::map<std::string, Cell> read_cells(const std::string &path) {
    std::ifstream file = opened(path);
    std::map<std::string, Cell> cells;
    std::string line, name;
    while (std::getline(file, line)) {
        std::istringstream words(line);
        std::string word;
        if (!(words >> word))
            continue;
        if (word == "module") {
            words >> name;
            while (words >> word)
                if (word == "input" || word == "(input") {
                    words >> word;
                    cells[name].pins.push_back(word.substr(0, word.find_first_of(",)")));
                }
        } else if (word == "assign") {
            std::size_t start = line.find('='), stop = line.rfind(';');
            cells[name].expression = line.substr(start + 1, stop - start - 1);
        }
    }
    return cells;
}

static void read_netlist(const std::string &path, const std::map<std::string, Cell> &cells,
                         std::vector<Instance> &instances, std::map<std::string, std::string> &assigns) {
    std::ifstream file = opened(path);
    std::string line, word;
    while (std::getline(file, line)) {
        std::istringstream words(line);
        if (!(words >> word))
            continue;
        if (word == "assign") {
            std::string target, equals, source;
            words >> target >> equals >> source;
            assigns[target] = source.substr(0, source.find(';'));
        } else if (cells.count(word)) {
            Instance instance;
            instance.cell = &cells.at(word);
            for (std::size_t at = line.find('.'); at != std::string::npos; at = line.find(" .", at + 1)) {
                std::size_t dot = line.find('.', at), open = line.find('(', dot), close = line.find(')', open);
                std::string pin = line.substr(dot + 1, open - dot - 1), net = line.substr(open + 1, close - open - 1);
                if (pin == "O")
                    instance.output = net;
                else
                    instance.nets[pin] = net;
            }
            instances.push_back(instance);
        } else if (word != "module" && word != "endmodule" && word != "input" && word != "output" && word != "wire" &&
                   word != ");") {
            give_up("the netlist holds an unknown cell: " + line);
        }
    }
}

static std::string bit_name(const Port &port, std::size_t place) {
    return port.elements * port.bits == 1 ? port.name : port.name + "[" + std::to_string(place) + "]";
}

static Lanes net_value(const Values &nets, const std::string &net) {
    Values::const_iterator found = nets.find(net);
    if (found == nets.end())
        give_up("nothing drives " + net);
    return found->second;
}

static void feed(const Port &port, std::size_t first, std::size_t count, Values &nets) {
    for (std::size_t element = 0; element < port.elements; element++)
        for (std::size_t bit = 0; bit < port.bits; bit++) {
            Lanes lanes = 0;
            for (std::size_t k = 0; k < count; k++)
                lanes |= (Lanes)(port.codes[(first + k) * port.elements + element] >> bit & 1) << k;
            nets[bit_name(port, element * port.bits + bit)] = lanes;
        }
}

static void evaluate(const std::vector<Instance> &instances, Values &nets) {
    for (const Instance &instance : instances) {
        Values pins;
        for (const std::string &pin : instance.cell->pins)
            pins[pin] = net_value(nets, instance.nets.at(pin));
        Expression expression = {instance.cell->expression.c_str(), pins};
        nets[instance.output] = expression.either();
    }
}

// The nets of all ports of a use, set to a value or, where `from` is given, to what is assigned to NAME_next.
static void set_ports(const std::vector<Port> &ports, const std::string &use, Lanes value, Values &nets,
                      const std::map<std::string, std::string> *from) {
    Values taken;
    for (const Port &port : ports)
        for (std::size_t place = 0; port.use == use && place < port.elements * port.bits; place++) {
            Port next = port;
            next.name += "_next";
            if (from && !from->count(bit_name(next, place)))
                give_up("the netlist assigns no " + bit_name(next, place));
            taken[bit_name(port, place)] = from ? net_value(nets, from->at(bit_name(next, place))) : value;
        }
    for (const Values::value_type &net : taken)
        nets[net.first] = net.second;
}

// Cycles of a clocked machine, whose registers keep what the vectors before left in them.
static void run_machine(const std::vector<Port> &ports, const std::vector<Instance> &instances,
                        const std::map<std::string, std::string> &assigns, std::size_t cycles, Values &nets) {
    for (std::size_t cycle = 0; cycle <= cycles; cycle++) {
        set_ports(ports, "start", cycle == 0 ? ~(Lanes)0 : 0, nets, 0);
        evaluate(instances, nets);
        set_ports(ports, "register", 0, nets, &assigns);
        set_ports(ports, "start", 0, nets, 0);
        for (const Port &port : ports) {
            if (port.use != "done")
                continue;
            evaluate(instances, nets);
            Lanes done = net_value(nets, assigns.at(port.name));
            if (done != (cycle == cycles ? ~(Lanes)0 : 0))
                give_up(port.name + " is wrong after cycle " + std::to_string(cycle));
        }
    }
}

static std::size_t compare(const Port &port, std::size_t first, std::size_t count, const Values &nets,
                           const std::map<std::string, std::string> &assigns, bool quiet) {
    std::size_t wrong = 0;
    for (std::size_t k = 0; k < count; k++)
        for (std::size_t element = 0; element < port.elements; element++) {
            long long code = 0;
            for (std::size_t bit = 0; bit < port.bits; bit++) {
                std::string name = bit_name(port, element * port.bits + bit);
                if (!assigns.count(name))
                    give_up("the netlist assigns no " + name);
                long long value = net_value(nets, assigns.at(name)) >> k & 1;
                code += port.is_signed && bit == port.bits - 1 ? -(value << bit) : value << bit;
            }
            long long expected = port.codes[(first + k) * port.elements + element];
            if (code != expected && wrong++ == 0 && !quiet)
                std::cout << "first difference: sample " << first + k << ", " << port.name << "[" << element
                          << "]: expected " << expected << ", got " << code << std::endl;
        }
    return wrong;
}

int main(int argc, char **argv) {
    if (argc != 5)
        give_up("arguments: PORTS CELLS NETLIST FOLDER");
    std::size_t cycles = 0;
    std::vector<Port> ports = read_ports(argv[1], cycles);
    std::map<std::string, Cell> cells = read_cells(argv[2]);
    std::vector<Instance> instances;
    std::map<std::string, std::string> assigns;
    read_netlist(argv[3], cells, instances, assigns);
    std::size_t outputs = 0, samples = 0;
    for (Port &port : ports) {
        if (!port.has_codes())
            continue;
        read_codes(port, argv[4]);
        if (samples != 0 && port.samples != samples)
            give_up("the vector files differ in length");
        samples = port.samples;
        outputs += port.use == "output";
    }
    if (outputs == 0)
        give_up("there is no output to compare");
    std::size_t wrong = 0, codes = 0;
    Values nets;
    nets["1'b0"] = 0;
    nets["1'b1"] = ~(Lanes)0;
    set_ports(ports, "register", 0x5a3cf00f96c3a5e1ULL, nets, 0);
    for (std::size_t first = 0; first < samples; first += 64) {
        std::size_t count = std::min<std::size_t>(64, samples - first);
        for (const Port &port : ports)
            if (port.use == "input")
                feed(port, first, count, nets);
        if (cycles)
            run_machine(ports, instances, assigns, cycles, nets);
        else
            evaluate(instances, nets);
        for (const Port &port : ports)
            if (port.use == "output") {
                wrong += compare(port, first, count, nets, assigns, wrong > 0);
                codes += count * port.elements;
            }
    }
    std::cout << instances.size() << " cells, " << samples << " samples: " << wrong << " of " << codes
              << " codes differ" << std::endl;
    return wrong > 0;
}
