/* Start of a RISC-V core in machine mode, and its counter of retired instructions as its clock. */
#include "port.h"

extern uint32_t port_bss[], port_bss_end[];
int main(void);

void port_start(void) {}

void port_quiet(int on) { (void)on; }

uint32_t port_now(void) {
    uint32_t now;
    __asm__ volatile(".option push\n.option arch, +zicsr\ncsrr %0, minstret\n.option pop" : "=r"(now));
    return now;
}

__attribute__((aligned(4), used)) static void fault(void) {
    port_text("ERROR: the core faulted\n");
    port_exit(3);
}

__attribute__((used)) static void start(void) {
    __asm__ volatile(".option push\n.option arch, +zicsr\ncsrw mtvec, %0\n.option pop" : : "r"(fault));
    for (uint32_t *to = port_bss; to < port_bss_end;)
        *to++ = 0;
    port_exit(main());
}

__attribute__((naked, section(".vectors"), used)) void port_reset(void) {
    __asm__ volatile("la sp, port_stack_top\nj start");
}
