/* The testbench's files and text by semihosting, which QEMU offers to Arm and RISC-V cores alike. */
#include "port.h"

enum { SYS_OPEN = 0x01, SYS_WRITE0 = 0x04, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { APPLICATION_EXIT = 0x20026 };

static int32_t ask(uint32_t what, const void *block) {
#if defined(__arm__)
    register uint32_t r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
#else
    register uint32_t a0 __asm__("a0") = what;
    register const void *a1 __asm__("a1") = block;
    __asm__ volatile(".option push\n.option norvc\n.balign 16\n"
                     "slli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return (int32_t)a0;
#endif
}

int port_open(port_file *file, const char *name) {
    uintptr_t block[3] = {(uintptr_t)name, 1, 0};
    while (name[block[2]])
        block[2]++;
    file->handle = ask(SYS_OPEN, block);
    file->held = file->at = 0;
    return file->handle >= 0;
}

int port_byte(port_file *file) {
    if (file->at == file->held) {
        uintptr_t block[3] = {(uintptr_t)file->handle, (uintptr_t)file->bytes, sizeof file->bytes};
        int32_t left = ask(SYS_READ, block); /* the number of bytes that were not read */
        if (left < 0 || left >= (int32_t)sizeof file->bytes)
            return -1;
        file->held = (uint16_t)(sizeof file->bytes - (uint32_t)left);
        file->at = 0;
    }
    return (uint8_t)file->bytes[file->at++];
}

void port_text(const char *text) { ask(SYS_WRITE0, text); }

void port_exit(int status) {
    uintptr_t block[2] = {APPLICATION_EXIT, (uintptr_t)status};
    for (;;)
        ask(SYS_EXIT_EXTENDED, block);
}

void port_block(void) { __asm__ volatile(".rept 1024\nnop\n.endr"); }
