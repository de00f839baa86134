// What carries a stream of tokens between pipelines: a FIFO, a border, windows. A token is taken in a cycle in which
// valid and ready are both high; ready may depend on what follows, valid never on ready.
`timescale 1 ns / 1 ps

// Holds what a pipeline gives that cannot be stopped. `take` promises a token, allowed while `ready` is high; it comes
// with `put` any number of cycles later, or in the same. 2^ADDRESS_BITS tokens may be promised or held at once.
module stream_fifo #(parameter BITS = 8, parameter ADDRESS_BITS = 2) (
    input wire clk,
    input wire rst,
    input wire take,
    output reg ready,
    input wire put,
    input wire [BITS-1:0] in_data,
    output reg out_valid,
    input wire out_ready,
    output reg [BITS-1:0] out_data
);
    localparam ENTRIES = 1 << ADDRESS_BITS;
    reg [ADDRESS_BITS:0] room;
    wire give = out_valid && out_ready;
    wire [ADDRESS_BITS:0] left = room - {{ADDRESS_BITS{1'b0}}, take} + {{ADDRESS_BITS{1'b0}}, give};
    always @(posedge clk) begin
        room <= rst ? ENTRIES[ADDRESS_BITS:0] : left;
        ready <= !rst && left != 0;
    end

    // The pointers' highest bits tell a full store from an empty one. A token is read one cycle after it was written
    // at the earliest, so that the store may be a block RAM.
    reg [BITS-1:0] store [0:ENTRIES-1];
    reg [ADDRESS_BITS:0] head, tail;
    wire move = head != tail && (!out_valid || out_ready);
    always @(posedge clk) begin
        if (put) store[head[ADDRESS_BITS-1:0]] <= in_data;
        if (move) out_data <= store[tail[ADDRESS_BITS-1:0]];
        head <= rst ? {(ADDRESS_BITS+1){1'b0}} : head + {{ADDRESS_BITS{1'b0}}, put};
        tail <= rst ? {(ADDRESS_BITS+1){1'b0}} : tail + {{ADDRESS_BITS{1'b0}}, move};
        out_valid <= !rst && (move || (out_valid && !out_ready));
    end
endmodule

// A frame of ROWS x COLS tokens with FILL around it: TOP rows before and BOTTOM after, LEFT columns and RIGHT.
// With WAIT, what stands before the first token of a frame is not given before that token is there.
module stream_border #(
    parameter BITS = 8, parameter [BITS-1:0] FILL = 0, parameter ROWS = 1, parameter COLS = 1,
    parameter TOP = 0, parameter BOTTOM = 0, parameter LEFT = 0, parameter RIGHT = 0, parameter WAIT = 0
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [BITS-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [BITS-1:0] out_data
);
    // Of the outer frame.
    reg [$clog2(TOP+ROWS+BOTTOM+1)-1:0] row;
    reg [$clog2(LEFT+COLS+RIGHT+1)-1:0] col;
    wire given = row >= TOP && row < TOP + ROWS && col >= LEFT && col < LEFT + COLS;
    wire last_col = col == LEFT + COLS + RIGHT - 1, last_row = row == TOP + ROWS + BOTTOM - 1;
    wire waits = WAIT != 0 && row == 0 && col == 0;
    assign out_valid = in_valid || !(given || waits);
    assign in_ready = given && out_ready;
    assign out_data = given ? in_data : FILL;
    always @(posedge clk)
        if (rst) begin
            row <= 0;
            col <= 0;
        end else if (out_valid && out_ready) begin
            col <= last_col ? 0 : col + 1;
            if (last_col) row <= last_row ? 0 : row + 1;
        end
endmodule

// Windows of KERNEL_ROWS x KERNEL_COLS tokens, DILATION apart, of a frame of ROWS x COLS; the first begins at FIRST, the
// others STRIDE apart, PLACES along each axis. out_data holds a window row-major, its first token lowest.
module stream_window #(
    parameter BITS = 8, parameter ROWS = 1, parameter COLS = 1, parameter KERNEL_ROWS = 1, parameter KERNEL_COLS = 1,
    parameter DILATION_ROWS = 1, parameter DILATION_COLS = 1, parameter STRIDE_ROWS = 1, parameter STRIDE_COLS = 1,
    parameter FIRST_ROW = 0, parameter FIRST_COL = 0, parameter PLACES_ROWS = 1, parameter PLACES_COLS = 1
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [BITS-1:0] in_data,
    output reg out_valid,
    input wire out_ready,
    output wire [KERNEL_ROWS*KERNEL_COLS*BITS-1:0] out_data
);
    localparam LINES = (KERNEL_ROWS - 1) * DILATION_ROWS, SPAN = (KERNEL_COLS - 1) * DILATION_COLS + 1;
    localparam END_ROW = FIRST_ROW + LINES, END_COL = FIRST_COL + SPAN - 1;
    localparam LAST_ROW = END_ROW + (PLACES_ROWS - 1) * STRIDE_ROWS, LAST_COL = END_COL + (PLACES_COLS - 1) * STRIDE_COLS;

    // Where the next token lies, and the next row and column in which a window ends; beyond the last there is none.
    reg [$clog2(ROWS+1)-1:0] row;
    reg [$clog2(COLS+1)-1:0] col;
    reg [$clog2(ROWS+STRIDE_ROWS+1)-1:0] end_row;
    reg [$clog2(COLS+STRIDE_COLS+1)-1:0] end_col;
    wire last_col = col == COLS - 1, last_row = row == ROWS - 1;
    wire ends_row = row == end_row && row <= LAST_ROW, ends_col = col == end_col && col <= LAST_COL;
    wire step = in_valid && in_ready;
    assign in_ready = !out_valid || out_ready;
    always @(posedge clk)
        if (rst) begin
            row <= 0;
            col <= 0;
            end_row <= END_ROW;
            end_col <= END_COL;
            out_valid <= 0;
        end else begin
            if (in_ready) out_valid <= in_valid && ends_row && ends_col;
            if (step) begin
                col <= last_col ? 0 : col + 1;
                end_col <= last_col ? END_COL : ends_col ? end_col + STRIDE_COLS : end_col;
                if (last_col) begin
                    row <= last_row ? 0 : row + 1;
                    end_row <= last_row ? END_ROW : ends_row ? end_row + STRIDE_ROWS : end_row;
                end
            end
        end

    // The tokens of this column in the rows above, the nearest lowest: read one step ahead, at another column than the
    // one that is written. In the first rows they are of an earlier frame, and in no window.
    wire [(LINES+1)*BITS-1:0] column;
    generate
        if (LINES == 0) begin : flat
            assign column = in_data;
        end else if (COLS == 1) begin : narrow
            reg [LINES*BITS-1:0] above;
            assign column = {above, in_data};
            always @(posedge clk) if (step) above <= column[LINES*BITS-1:0];
        end else begin : wide
            localparam ADDRESS_BITS = $clog2(COLS);
            reg [LINES*BITS-1:0] lines [0:COLS-1];
            reg [LINES*BITS-1:0] above;
            wire [ADDRESS_BITS-1:0] here = col[ADDRESS_BITS-1:0], next = last_col ? 0 : here + 1'b1;
            assign column = {above, in_data};
            always @(posedge clk)
                if (step) begin
                    lines[here] <= column[LINES*BITS-1:0];
                    above <= lines[next];
                end
        end
    endgenerate

    // The last SPAN columns of the rows that windows hold, the newest lowest; a column's first row lowest.
    wire [KERNEL_ROWS*BITS-1:0] kept;
    reg [SPAN*KERNEL_ROWS*BITS-1:0] columns;
    wire [(SPAN+1)*KERNEL_ROWS*BITS-1:0] shifted = {columns, kept};
    always @(posedge clk) if (step) columns <= shifted[SPAN*KERNEL_ROWS*BITS-1:0];
    genvar r, c;
    generate
        for (r = 0; r < KERNEL_ROWS; r = r + 1) begin : rows
            assign kept[r*BITS +: BITS] = column[(KERNEL_ROWS-1-r)*DILATION_ROWS*BITS +: BITS];
            for (c = 0; c < KERNEL_COLS; c = c + 1) begin : taps
                assign out_data[(r*KERNEL_COLS+c)*BITS +: BITS] =
                    columns[((KERNEL_COLS-1-c)*DILATION_COLS*KERNEL_ROWS+r)*BITS +: BITS];
            end
        end
    endgenerate
endmodule
