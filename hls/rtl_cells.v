// The arithmetic that a traced circuit instantiates. Values are two's complement where SIGNED is 1; every result is
// taken modulo 2^BW_OUT, so operands need no more bits than it has. There are no generate blocks: Icarus Verilog goes
// through all instances of one for each of its instances, hours for the largest circuits.
`timescale 1 ns / 1 ps

// out = (in0 +- in1 * 2^SHIFT1) / 2^DROP_LSBS, aligned to the lower of the two ends.
module shift_adder #(
    parameter BW_INPUT0 = 32, parameter BW_INPUT1 = 32, parameter SIGNED0 = 0, parameter SIGNED1 = 0,
    parameter BW_OUT = 32, parameter DROP_LSBS = 0, parameter SHIFT1 = 0, parameter IS_SUB = 0
) (
    input [BW_INPUT0-1:0] in0,
    input [BW_INPUT1-1:0] in1,
    output [BW_OUT-1:0] out
);
    localparam PAD0 = SHIFT1 < 0 ? -SHIFT1 : 0, PAD1 = SHIFT1 > 0 ? SHIFT1 : 0;
    localparam WIDTH = BW_OUT + DROP_LSBS;
    // One expression for the whole width: Verilator 5.006 gives wrong sums where the low bits are assigned apart.
    wire [WIDTH-1:0] a, b, sum;
    widen #(.BW_IN(BW_INPUT0), .SIGNED(SIGNED0), .PAD(PAD0), .BW_OUT(WIDTH)) widen0 (in0, a);
    widen #(.BW_IN(BW_INPUT1), .SIGNED(SIGNED1), .PAD(PAD1), .BW_OUT(WIDTH)) widen1 (in1, b);
    assign sum = IS_SUB ? a - b : a + b;
    assign out = sum[WIDTH-1:DROP_LSBS];
endmodule

// out = (+-in0 * 2^PAD0 +-in1 * 2^PAD1 +-in2 * 2^PAD2) / 2^DROP_LSBS, minus where NEGATE is 1.
module ternary_adder #(
    parameter BW_INPUT0 = 32, parameter SIGNED0 = 0, parameter NEGATE0 = 0, parameter PAD0 = 0,
    parameter BW_INPUT1 = 32, parameter SIGNED1 = 0, parameter NEGATE1 = 0, parameter PAD1 = 0,
    parameter BW_INPUT2 = 32, parameter SIGNED2 = 0, parameter NEGATE2 = 0, parameter PAD2 = 0,
    parameter BW_OUT = 32, parameter DROP_LSBS = 0
) (
    input [BW_INPUT0-1:0] in0,
    input [BW_INPUT1-1:0] in1,
    input [BW_INPUT2-1:0] in2,
    output [BW_OUT-1:0] out
);
    localparam WIDTH = BW_OUT + DROP_LSBS;
    // From LEAST to NEXT a single operand is not zero; it passes unless it is subtracted.
    localparam LEAST = PAD0 <= PAD1 && PAD0 <= PAD2 ? PAD0 : PAD1 <= PAD2 ? PAD1 : PAD2;
    localparam ABOVE0 = PAD0 == LEAST ? WIDTH : PAD0, ABOVE1 = PAD1 == LEAST ? WIDTH : PAD1,
               ABOVE2 = PAD2 == LEAST ? WIDTH : PAD2;
    localparam NEXT = ABOVE0 <= ABOVE1 && ABOVE0 <= ABOVE2 ? ABOVE0 : ABOVE1 <= ABOVE2 ? ABOVE1 : ABOVE2;
    // Truth values are one bit wide, and so would their sum be.
    localparam LOWEST = (PAD0 == LEAST ? 1 : 0) + (PAD1 == LEAST ? 1 : 0) + (PAD2 == LEAST ? 1 : 0);
    localparam NEGATED = (PAD0 == LEAST && NEGATE0) || (PAD1 == LEAST && NEGATE1) || (PAD2 == LEAST && NEGATE2);
    localparam PASSED = LOWEST == 1 && !NEGATED ? NEXT : LEAST;
    localparam START = PASSED < WIDTH ? PASSED : WIDTH;
    wire [WIDTH-1:0] a, b, c, sum;
    widen #(.BW_IN(BW_INPUT0), .SIGNED(SIGNED0), .PAD(PAD0), .BW_OUT(WIDTH)) widen0 (in0, a);
    widen #(.BW_IN(BW_INPUT1), .SIGNED(SIGNED1), .PAD(PAD1), .BW_OUT(WIDTH)) widen1 (in1, b);
    widen #(.BW_IN(BW_INPUT2), .SIGNED(SIGNED2), .PAD(PAD2), .BW_OUT(WIDTH)) widen2 (in2, c);
    sum3 #(.NEGATE0(NEGATE0), .NEGATE1(NEGATE1), .NEGATE2(NEGATE2), .WIDTH(WIDTH), .START(START)) add (a, b, c, sum);
    assign out = sum[WIDTH-1:DROP_LSBS];
endmodule

// sum = +-a +-b +-c; below bit START at most one of them is not zero, and that one is not subtracted.
module sum3 #(
    parameter NEGATE0 = 0, parameter NEGATE1 = 0, parameter NEGATE2 = 0, parameter WIDTH = 32, parameter START = 0
) (
    input [WIDTH-1:0] a,
    input [WIDTH-1:0] b,
    input [WIDTH-1:0] c,
    output [WIDTH-1:0] sum
);
    assign sum = NEGATE2 == 1
        ? (NEGATE1 == 1 ? (NEGATE0 == 1 ? -a - b - c : a - b - c) : NEGATE0 == 1 ? b - a - c : a + b - c)
        : (NEGATE1 == 1 ? (NEGATE0 == 1 ? c - a - b : a + c - b) : NEGATE0 == 1 ? b + c - a : a + b + c);
endmodule

// out = in * 2^PAD
module widen #(parameter BW_IN = 32, parameter SIGNED = 0, parameter PAD = 0, parameter BW_OUT = 32) (
    input [BW_IN-1:0] in,
    output [BW_OUT-1:0] out
);
    wire signed [BW_IN:0] full = {SIGNED == 1 && in[BW_IN-1], in};
    assign out = full <<< PAD;
endmodule

// out = key ? in0 : in1, where in1 (SHIFT1 > 0) or in0 (SHIFT1 < 0) is moved up by as many bits.
module mux #(
    parameter BW_INPUT0 = 32, parameter BW_INPUT1 = 32, parameter SIGNED0 = 0, parameter SIGNED1 = 0,
    parameter BW_OUT = 32, parameter SHIFT1 = 0
) (
    input key,
    input [BW_INPUT0-1:0] in0,
    input [BW_INPUT1-1:0] in1,
    output [BW_OUT-1:0] out
);
    wire [BW_OUT-1:0] a, b;
    widen #(.BW_IN(BW_INPUT0), .SIGNED(SIGNED0), .PAD(SHIFT1 < 0 ? -SHIFT1 : 0), .BW_OUT(BW_OUT)) widen0 (in0, a);
    widen #(.BW_IN(BW_INPUT1), .SIGNED(SIGNED1), .PAD(SHIFT1 > 0 ? SHIFT1 : 0), .BW_OUT(BW_OUT)) widen1 (in1, b);
    assign out = key ? a : b;
endmodule

// out = in0 OP in1, aligned as in mux; OP is 0 for and, 1 for or, 2 for exclusive or.
module binop #(
    parameter BW_INPUT0 = 32, parameter BW_INPUT1 = 32, parameter SIGNED0 = 0, parameter SIGNED1 = 0,
    parameter BW_OUT = 32, parameter SHIFT1 = 0, parameter OP = 0
) (
    input [BW_INPUT0-1:0] in0,
    input [BW_INPUT1-1:0] in1,
    output [BW_OUT-1:0] out
);
    wire [BW_OUT-1:0] a, b;
    widen #(.BW_IN(BW_INPUT0), .SIGNED(SIGNED0), .PAD(SHIFT1 < 0 ? -SHIFT1 : 0), .BW_OUT(BW_OUT)) widen0 (in0, a);
    widen #(.BW_IN(BW_INPUT1), .SIGNED(SIGNED1), .PAD(SHIFT1 > 0 ? SHIFT1 : 0), .BW_OUT(BW_OUT)) widen1 (in1, b);
    assign out = OP == 0 ? a & b : OP == 1 ? a | b : a ^ b;
endmodule

// out = -in
module negative #(parameter BW_IN = 32, parameter BW_OUT = 32, parameter IN_SIGNED = 0) (
    input [BW_IN-1:0] in,
    output [BW_OUT-1:0] out
);
    wire [BW_OUT-1:0] a;
    widen #(.BW_IN(BW_IN), .SIGNED(IN_SIGNED), .BW_OUT(BW_OUT)) widen0 (in, a);
    assign out = -a;
endmodule

// out = in0 * in1
module multiplier #(
    parameter BW_INPUT0 = 32, parameter BW_INPUT1 = 32, parameter SIGNED0 = 0, parameter SIGNED1 = 0,
    parameter BW_OUT = 32
) (
    input [BW_INPUT0-1:0] in0,
    input [BW_INPUT1-1:0] in1,
    output [BW_OUT-1:0] out
);
    localparam WIDTH = BW_INPUT0 + BW_INPUT1 + 2;
    wire signed [BW_INPUT0:0] a = {SIGNED0 == 1 && in0[BW_INPUT0-1], in0};
    wire signed [BW_INPUT1:0] b = {SIGNED1 == 1 && in1[BW_INPUT1-1], in1};
    wire signed [WIDTH-1:0] product = a * b;
    widen #(.BW_IN(WIDTH), .SIGNED(1), .BW_OUT(BW_OUT)) widen0 (product, out);
endmodule
