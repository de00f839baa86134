/* Runs an AVR's testbench in simavr: simavr_run PART FIRMWARE. Reads the files that the firmware asks for below the
 * working directory, prints its text, and ends with its status; 3 where the core crashed. See port_avr.c for the
 * registers. Needs libsimavr and libelf. */
#include <simavr/avr_ioport.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GPIOR0 = 0x3E, GPIOR1 = 0x4A, GPIOR2 = 0x4B, MOST_FILES = 120 };

static FILE *files[MOST_FILES];
static unsigned count, length;
static char name[256];
static uint8_t wanted;
static uint32_t cycles;

static void text(struct avr_t *avr, avr_io_addr_t addr, uint8_t v, void *param) {
    (void)avr, (void)addr, (void)param;
    putchar(v);
}

static void letter(struct avr_t *avr, avr_io_addr_t addr, uint8_t v, void *param) {
    (void)param;
    if (length < sizeof name - 1)
        name[length++] = (char)v;
    if (v)
        return;
    avr->data[addr] = 255;
    name[length] = 0;
    length = 0;
    if (count < MOST_FILES && (files[count] = fopen(name, "r")))
        avr->data[addr] = (uint8_t)count++;
}

static void choose(struct avr_t *avr, avr_io_addr_t addr, uint8_t v, void *param) {
    (void)addr, (void)param;
    if (v >= 0xF0) {
        if (v == 0xF0)
            cycles = (uint32_t)avr->cycle;
    } else if (v >= 0x80) {
        fflush(stdout);
        exit(v - 0x80);
    }
    wanted = v;
}

static uint8_t give(struct avr_t *avr, avr_io_addr_t addr, void *param) {
    int c;
    (void)addr, (void)param;
    if (wanted >= 0xF0)
        return (uint8_t)(cycles >> 8 * (wanted - 0xF0));
    c = wanted < count ? getc(files[wanted]) : EOF;
    avr->data[GPIOR2] = c == EOF;
    return (uint8_t)c;
}

int main(int argc, char **argv) {
    elf_firmware_t firmware;
    avr_t *avr = argc == 3 ? avr_make_mcu_by_name(argv[1]) : NULL;
    int state = cpu_Running;
    memset(&firmware, 0, sizeof firmware);
    if (!avr || elf_read_firmware(argv[2], &firmware) != 0) {
        fprintf(stderr, "ERROR: PART and FIRMWARE are wanted\n");
        return 2;
    }
    avr_init(avr);
    avr_load_firmware(avr, &firmware);
    avr_register_io_write(avr, GPIOR0, text, NULL);
    avr_register_io_write(avr, GPIOR1, letter, NULL);
    avr_register_io_write(avr, GPIOR2, choose, NULL);
    avr_register_io_read(avr, GPIOR0, give, NULL);
    while (state != cpu_Done && state != cpu_Crashed)
        state = avr_run(avr);
    fprintf(stderr, "ERROR: the core faulted\n");
    return 3;
}
