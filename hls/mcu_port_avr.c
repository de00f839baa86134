/* An AVR's testbench talks to mcu_simavr.c through three registers that no peripheral uses.
 *
 * GPIOR1 written: a character of a file's name, which a 0 ends; read: the number of the file that was opened, or 255
 * GPIOR2 written: what the next read of GPIOR0 gives, a byte of that file (GPIOR2 is 1 then at its end), a byte of the
 * counter of cycles (0xF0 to 0xF3, 0xF0 holds it), or 0x80 + status: the end
 * GPIOR0 written: a character of text */
#include <avr/io.h>
#include "port.h"

int port_open(port_file *file, const char *name) {
    do
        GPIOR1 = (uint8_t)*name;
    while (*name++);
    *file = GPIOR1;
    return *file != 255;
}

int port_byte(port_file *file) {
    GPIOR2 = *file;
    uint8_t byte = GPIOR0;
    return GPIOR2 ? -1 : byte;
}

void port_text(const char *text) {
    while (*text)
        GPIOR0 = (uint8_t)*text++;
}

void port_exit(int status) {
    for (;;)
        GPIOR2 = (uint8_t)(0x80 + status);
}

void port_start(void) {}

void port_quiet(int on) { (void)on; }

uint32_t port_now(void) {
    uint32_t now = 0;
    for (uint8_t k = 0; k < 4; k++) {
        GPIOR2 = (uint8_t)(0xF0 + k);
        now |= (uint32_t)GPIOR0 << (8 * k);
    }
    return now;
}

void port_block(void) { __asm__ volatile(".rept 1024\nnop\n.endr"); }
