// sum3 for Yosys on Xilinx parts: an addition of three operands with one LUT a bit, which Yosys does not find itself.
// A LUT gives the bit's sum and, to the LUT and the carry chain of the next bit, the carry out of its own three bits.
module sum3 #(
    parameter NEGATE0 = 0, parameter NEGATE1 = 0, parameter NEGATE2 = 0, parameter WIDTH = 32, parameter START = 0
) (
    input [WIDTH-1:0] a,
    input [WIDTH-1:0] b,
    input [WIDTH-1:0] c,
    output [WIDTH-1:0] sum
);
    localparam NEGATED = NEGATE0 + NEGATE1 + NEGATE2;
    localparam UPPER = WIDTH - START, BLOCKS = (UPPER + 3) / 4;
    // Inputs 0 to 3 are a, b, c and the carry from below: O6 is their exclusive or, O5 the majority of the first three.
    localparam [2:0] FLIP = {NEGATE2 == 1, NEGATE1 == 1, NEGATE0 == 1};
    function [63:0] table_of;
        input [2:0] flip;
        integer i;
        reg [2:0] x;
        begin
            for (i = 0; i < 32; i = i + 1) begin
                x = i[2:0] ^ flip;
                table_of[i] = (x[0] & x[1]) | (x[0] & x[2]) | (x[1] & x[2]);
                table_of[32+i] = x[0] ^ x[1] ^ x[2] ^ i[3];
            end
        end
    endfunction
    generate
        if (NEGATED == 3) begin : all
            assign sum = -a - b - c;
        end else begin : chain
            wire [UPPER:0] majority;
            wire [4*BLOCKS+3:0] propagate, generated, total, carry;
            assign majority[0] = NEGATED == 2;
            genvar i;
            for (i = 0; i < START; i = i + 1) begin : low
                assign sum[i] = a[i] | b[i] | c[i];
            end
            for (i = 0; i < 4 * BLOCKS; i = i + 1) begin : bits
                if (i < UPPER) begin : used
                    LUT6_2 #(.INIT(table_of(FLIP))) lut (.I0(a[START+i]), .I1(b[START+i]), .I2(c[START+i]),
                        .I3(majority[i]), .I4(1'b0), .I5(1'b1), .O5(majority[i+1]), .O6(propagate[i]));
                    assign generated[i] = majority[i];
                    assign sum[START+i] = total[i];
                end else begin : unused
                    assign propagate[i] = 1'b0;
                    assign generated[i] = 1'b0;
                end
            end
            for (i = 0; i < BLOCKS; i = i + 1) begin : blocks
                if (i == 0) begin : lowest
                    CARRY4 chain (.CI(1'b0), .CYINIT(NEGATED > 0), .S(propagate[3:0]), .DI(generated[3:0]),
                        .O(total[3:0]), .CO(carry[3:0]));
                end else begin : higher
                    CARRY4 chain (.CI(carry[4*i-1]), .CYINIT(1'b0), .S(propagate[4*i+3:4*i]),
                        .DI(generated[4*i+3:4*i]), .O(total[4*i+3:4*i]), .CO(carry[4*i+3:4*i]));
                end
            end
        end
    endgenerate
endmodule
