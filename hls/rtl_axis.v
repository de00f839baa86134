// AXI4-Stream ports around a pipeline that takes a word whenever it is given one and shows the result LATENCY cycles
// later. A word is accepted only while the FIFO behind the pipeline has an entry for it, so that none is lost when the
// sink stalls. The FIFO has 2^ADDRESS_BITS entries; LATENCY + 2 of them keep a word a cycle flowing.
`timescale 1 ns / 1 ps
module rtl_axis #(parameter LATENCY = 1, parameter OUT_BITS = 8, parameter ADDRESS_BITS = 2) (
    input wire clk,
    input wire rst,
    input wire s_valid,
    output reg s_ready,
    input wire s_last,
    output wire m_valid,
    input wire m_ready,
    output wire m_last,
    output wire [OUT_BITS-1:0] m_data,
    output wire take,
    input wire out_valid,
    input wire [OUT_BITS-1:0] out_data
);
    localparam ENTRIES = 1 << ADDRESS_BITS;

    // Entries that no word in the pipeline or in the FIFO has been promised.
    reg [ADDRESS_BITS:0] free;
    wire give = m_valid && m_ready;
    wire [ADDRESS_BITS:0] left = free - {{ADDRESS_BITS{1'b0}}, take} + {{ADDRESS_BITS{1'b0}}, give};
    assign take = s_valid && s_ready;
    always @(posedge clk) begin
        free <= rst ? ENTRIES[ADDRESS_BITS:0] : left;
        s_ready <= !rst && left != 0;
    end

    // TLAST travels beside the pipeline.
    reg [LATENCY-1:0] last;
    wire [LATENCY:0] lasts = {last, s_last};
    always @(posedge clk) last <= lasts[LATENCY-1:0];

    // The pointers' highest bits tell a full FIFO from an empty one.
    reg [OUT_BITS:0] store [0:ENTRIES-1];
    reg [ADDRESS_BITS:0] head, tail;
    always @(posedge clk) begin
        if (out_valid) store[head[ADDRESS_BITS-1:0]] <= {last[LATENCY-1], out_data};
        head <= rst ? {(ADDRESS_BITS+1){1'b0}} : head + {{ADDRESS_BITS{1'b0}}, out_valid};
        tail <= rst ? {(ADDRESS_BITS+1){1'b0}} : tail + {{ADDRESS_BITS{1'b0}}, give};
    end
    assign m_valid = head != tail;
    assign {m_last, m_data} = store[tail[ADDRESS_BITS-1:0]];
endmodule
