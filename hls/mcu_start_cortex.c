/* Start of a Cortex-M, and SysTick as its clock: a counter of 24 bits whose rounds are counted as well. */
#include "port.h"

extern uint32_t port_data[], port_data_end[], port_data_load[], port_bss[], port_bss_end[], port_stack_top[];
int main(void);

#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)
#define ROUND 0x1000000u

static volatile uint32_t rounds;

void port_start(void) {
    SYST_RVR = ROUND - 1;
    SYST_CVR = 0;
    SYST_CSR = 7; /* the core's own clock, with an interrupt at the end of each round */
}

uint32_t port_now(void) {
    uint32_t before, value;
    do {
        before = rounds;
        value = SYST_CVR;
    } while (before != rounds);
    return before * ROUND + (ROUND - 1 - value);
}

void port_quiet(int on) { SYST_CSR = on ? 5 : 7; }

static void count_round(void) { rounds++; }

static void fault(void) {
    port_text("ERROR: the core faulted\n");
    port_exit(3);
}

static void start(void) {
    uint32_t *from = port_data_load;
    for (uint32_t *to = port_data; to < port_data_end;)
        *to++ = *from++;
    for (uint32_t *to = port_bss; to < port_bss_end;)
        *to++ = 0;
    port_exit(main());
}

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *top;
    void (*handlers[15])(void);
} vectors = {
    port_stack_top,
    {start, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, count_round},
};
