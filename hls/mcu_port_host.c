/* The testbench's files, text and clock on a computer with an operating system. */
#define _POSIX_C_SOURCE 199309L
#include <stdlib.h>
#include <time.h>
#include "port.h"

int port_open(port_file *file, const char *name) { return (*file = fopen(name, "r")) != NULL; }

int port_byte(port_file *file) { return getc(*file); }

void port_text(const char *text) { fputs(text, stdout); }

void port_exit(int status) { exit(status); }

void port_start(void) {}

void port_quiet(int on) { (void)on; }

uint32_t port_now(void) { /* nanoseconds */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

void port_block(void) {}
