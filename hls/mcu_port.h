/* What the testbench wants of a machine: files of the computer that simulates it, text, a clock and its stack. */
#ifndef MCU_PORT_H
#define MCU_PORT_H

#include <stdint.h>

#if defined(__AVR__)
typedef uint8_t port_file;
#elif defined(__arm__) || defined(__riscv)
typedef struct {
    int32_t handle;
    uint16_t held, at;
    char bytes[64];
} port_file;
#else
#include <stdio.h>
typedef FILE *port_file;
#endif

int port_open(port_file *file, const char *name); /* 0 where the file cannot be read */
int port_byte(port_file *file);                   /* the next byte, or -1 at the end */
void port_text(const char *text);
void port_exit(int status);

/* Ticks of the clock since it was started; port_block executes PORT_BLOCK instructions of one cycle. */
#define PORT_BLOCK 1024
void port_start(void);
uint32_t port_now(void);
void port_block(void);
void port_quiet(int on); /* no interrupts meanwhile */

/* The end of the memory that a stack may fill, and the place of the stack's newest byte; 0 where nobody knows. */
extern char port_stack_limit[];
#if defined(__AVR__)
static inline uintptr_t port_stack(void) { return *(volatile uint16_t *)0x5D + 1; } /* SP points below the newest */
#elif defined(__arm__)
static inline uintptr_t port_stack(void) {
    uintptr_t sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}
#elif defined(__riscv)
static inline uintptr_t port_stack(void) {
    uintptr_t sp;
    __asm__ volatile("mv %0, sp" : "=r"(sp));
    return sp;
}
#endif

#endif
