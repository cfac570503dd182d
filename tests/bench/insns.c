// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * QEMU plugin: instructions executed, by address of the translation block.
 *
 * Counts from where the guest executes the first nop of mark.S to where it
 * executes the second, and then writes "ADDRESS COUNT" lines to DIR/counts-N, N =
 * 1, 2...  Arguments: dir=DIR.  One processor only.
 *
 * Debian has no qemu-plugin.h: what is used of version 1 of that interface
 * (QEMU 4.2 to 8.2) is declared here.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t plugin_id;
typedef void (*translated_cb)(plugin_id id, struct qemu_plugin_tb *tb);
typedef void (*executed_cb)(unsigned int cpu, void *data);

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translated_cb cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb,
					      enum qemu_plugin_op op, void *ptr,
					      uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    executed_cb cb,
					    enum qemu_plugin_cb_flags flags,
					    void *data);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static const unsigned char start_nop[] = { 0x0f, 0x1f, 0x80, 1, 'd', 'h', 'v' };
static const unsigned char stop_nop[] = { 0x0f, 0x1f, 0x80, 2, 'd', 'h', 'v' };

struct counter {
	struct counter *next;
	uint64_t address;
	uint64_t count;
};

static struct counter *counters;
static char dir[4096];
static unsigned int number;

static void start(unsigned int cpu, void *data)
{
	struct counter *c;

	(void)cpu;
	(void)data;
	for (c = counters; c; c = c->next)
		c->count = 0;
}

static void stop(unsigned int cpu, void *data)
{
	char path[sizeof(dir) + 32];
	struct counter *c;
	FILE *f;

	(void)cpu;
	(void)data;
	snprintf(path, sizeof(path), "%s/counts-%u", dir, ++number);
	f = fopen(path, "w");
	if (!f)
		abort();
	for (c = counters; c; c = c->next)
		if (c->count)
			fprintf(f, "%" PRIx64 " %" PRIu64 "\n", c->address,
				c->count);
	if (fclose(f))
		abort();
}

static void look_for_marks(struct qemu_plugin_tb *tb)
{
	struct qemu_plugin_insn *insn;
	size_t i;

	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		insn = qemu_plugin_tb_get_insn(tb, i);
		if (qemu_plugin_insn_size(insn) != sizeof(start_nop))
			continue;
		if (!memcmp(qemu_plugin_insn_data(insn), start_nop,
			    sizeof(start_nop)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, start,
							       0, NULL);
		if (!memcmp(qemu_plugin_insn_data(insn), stop_nop,
			    sizeof(stop_nop)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, stop,
							       0, NULL);
	}
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	struct counter *c = calloc(1, sizeof(*c));

	(void)id;
	if (!c)
		abort();
	c->address = qemu_plugin_tb_vaddr(tb);
	c->next = counters;
	counters = c;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
						 &c->count,
						 qemu_plugin_tb_n_insns(tb));
	look_for_marks(tb);
}

__attribute__((visibility("default")))
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++)
		if (!strncmp(argv[i], "dir=", 4))
			snprintf(dir, sizeof(dir), "%s", argv[i] + 4);
	if (!*dir)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
