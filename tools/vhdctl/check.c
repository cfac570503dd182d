// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "device.h"
#include "chain.h"
#include "json.h"
#include "lock.h"
#include "meter.h"
#include "repair.h"
#include "report.h"
#include "vhdctl.h"

/* Findings of one code that are printed, unless -v. */
#define SHOWN		8

/* What check exits with, as qemu-img check does. */
enum check_exit {
	CHECK_CLEAN		= 0,
	CHECK_NOT_DONE		= 1,
	CHECK_CORRUPT		= 2,
	CHECK_REPAIRABLE	= 3,
};

enum {
	OPT_AZURE = OPT_LONG,
	OPT_WINDOWS,
	OPT_POLICY,
	OPT_REPAIR,
	OPT_UNDO,
	OPT_UNDO_FILE,
	OPT_FORCE,
	OPT_CHAIN,
};

static const struct option options[] = {
	{ "chain", no_argument, NULL, OPT_CHAIN },
	PARENT_OPTIONS
	{ "repair", optional_argument, NULL, OPT_REPAIR },
	{ "undo-file", required_argument, NULL, OPT_UNDO_FILE },
	{ "undo", required_argument, NULL, OPT_UNDO },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "azure", no_argument, NULL, OPT_AZURE },
	{ "windows", no_argument, NULL, OPT_WINDOWS },
	{ "policy", no_argument, NULL, OPT_POLICY },
	{ "json", no_argument, NULL, 'J' },
	COMMON_OPTIONS
};

static const char help[] =
	"check [OPTION...] IMAGE\n"
	"       vhdctl check --repair[=PART,...] [OPTION...] IMAGE\n"
	"       vhdctl check --undo FILE [--force] IMAGE\n"
	"       vhdctl check --policy\n"
	"\n"
	"Look for all that is wrong or unusual with an image, and mend it.  Without\n"
	"--repair nothing is written.  Exit codes: 0 clean (there may be notes),\n"
	"1 could not be done, 2 corrupt, 3 something can be mended or is cosmetic;\n"
	"after a repair, of what is left.\n"
	"\n"
	"     --repair                mend what can be mended without losing anything\n"
	"                             that can be read\n"
	"     --repair=PART,...       only these, and what is only done by name:\n"
	"         footer              footer and its copy, each from the other one;\n"
	"                             both good but different: footer:head or\n"
	"                             footer:tail says which one is right\n"
	"         header              damaged fields, locators; by name: the checksum\n"
	"                             of fields that may be damaged\n"
	"         bat                 overlapping blocks; by name: forget blocks that\n"
	"                             are beyond the end or in metadata\n"
	"         bitmap              data under clear bits\n"
	"         tail                slack; by name: a fixed image's file that is\n"
	"                             too short\n"
	"     --undo-file FILE        where to keep what is overwritten (IMAGE.vhd-undo)\n"
	"     --undo FILE             put back what a repair has overwritten\n"
	"     --force                 although the image was changed after the repair\n"
	"     --chain                 of a differencing image, also its parents, and\n"
	"                             whether they belong together\n"
	PARENT_HELP
	"     --azure                 also what Azure would refuse\n"
	"     --windows               also what Windows would refuse\n"
	"     --policy                print every finding there is, and what it means\n"
	"                             for attach\n"
	" -J, --json                  JSON\n";

/**
 * struct wish - the options as given
 * @parts, @named, @choice: as vhd_repair has them
 * @undo: the undo file to apply
 * @undo_file: the undo file to make
 * @out: where JSON goes
 * @layers: with --chain, what the image is layer number @layer of; or NULL
 * @chain_err: why there are no more layers
 */
struct wish {
	bool azure;
	bool windows;
	bool policy;
	bool json;
	bool repair;
	bool force;
	unsigned int parts;
	unsigned int named;
	enum vhd_repair_choice choice;
	const char *undo;
	const char *undo_file;
	bool chain;
	struct vhd_parent_options parents;
	struct json *out;
	const struct vhd_layers *layers;
	unsigned int layer;
	int chain_err;
};

/* ---- words ----------------------------------------------------------- */

static int check_code(const struct vhd_check *c, int err)
{
	if (vhd_check_count(c, VHD_SEV_CORRUPT))
		return CHECK_CORRUPT;
	/* Refused for something that is not damage, a key say. */
	if (err)
		return CHECK_NOT_DONE;
	if (vhd_check_count(c, VHD_SEV_REPAIRABLE) ||
	    vhd_check_count(c, VHD_SEV_COSMETIC))
		return CHECK_REPAIRABLE;
	return CHECK_CLEAN;
}

static const char *result_word(const struct vhd_check *c, int code)
{
	static const char *const words[] = {
		"clean", "not checked", "corrupt", "repairable",
	};

	if (code == CHECK_REPAIRABLE && !vhd_check_count(c, VHD_SEV_REPAIRABLE))
		return "cosmetic";
	return words[code];
}

static const char *const part_words[] = {
	"footer", "header", "bat", "bitmap", "tail", "footer:head",
	"footer:tail", NULL
};

static const char *part_word(enum vhd_repair_part part)
{
	unsigned int i = 0;

	while (part >> (i + 1))
		i++;
	return part_words[i];
}

/* "footer.current_size is 0": the field a finding is about, if it names one. */
static const char *field_of(enum vhd_finding_code code, char *buf, size_t len)
{
	const char *text = vhd_finding_info(code)->text;
	size_t n;

	text = strstr(text, "footer.") ?: strstr(text, "header.");
	if (!text)
		return NULL;
	n = strspn(text, "abcdefghijklmnopqrstuvwxyz_.");
	while (n && text[n - 1] == '.')
		n--;
	snprintf(buf, len, "%.*s", (int)n, text);
	return buf;
}

/* ---- text ------------------------------------------------------------ */

static void print_repair(enum vhd_finding_code code)
{
	const struct vhd_repair_info *repair = vhd_repair_info(code);

	if (repair->text)
		printf("    --repair%s%s %s\n", repair->named ? "=" : "",
		       repair->named ? part_word(repair->part) : "",
		       repair->text);
}

static void print_code(const struct vhd_check *c, enum vhd_finding_code code)
{
	const struct vhd_finding_info *info = vhd_finding_info(code);
	unsigned int kept = vhd_check_kept(c, code);
	unsigned int i;
	char line[256];

	if (verbosity < 1 && kept > SHOWN)
		kept = SHOWN;
	for (i = 0; i < kept; i++) {
		vhd_finding_line(&c->kept[code][i], line, sizeof(line));
		printf("%s: %s: %s\n", severity_word(info->severity),
		       info->name, line);
	}
	if (kept)
		print_repair(code);
	if (c->counts[code] > kept)
		printf("%s: %s: %llu more\n", severity_word(info->severity),
		       info->name,
		       (unsigned long long)(c->counts[code] - kept));
}

/* The worst first. */
static void print_all(const struct vhd_check *c)
{
	int severity;
	unsigned int i;

	for (severity = VHD_SEV_CORRUPT; severity >= 0; severity--) {
		if (severity == VHD_SEV_NOTE && verbosity < 0)
			break;
		for (i = 0; i < VHD_NR_FINDINGS; i++)
			if ((int)vhd_finding_info(i)->severity == severity)
				print_code(c, i);
	}
}

/* Why the image's parent is missing, in words; or NULL. */
static char *trouble(const struct wish *w)
{
	if (!w->layers || w->layer + 1 < w->layers->nr)
		return NULL;
	return w->layers->trouble;
}

static void print_text(const struct wish *w, const struct vhd_check *c,
		       int code)
{
	const struct vhd_image *img = &c->file->image;
	u64 notes = vhd_check_count(c, VHD_SEV_NOTE);

	print_all(c);
	if (trouble(w))
		printf("    %s\n", printable(trouble(w)));
	printf("%s: %s", c->file->path, result_word(c, code));
	if (c->file->loaded && img->bat)
		printf(", %s, %u of %u blocks allocated",
		       type_name(img->type), img->nr_allocated, img->nr_blocks);
	else if (c->file->loaded)
		printf(", %s", type_name(img->type));
	if (notes)
		printf(", %llu note%s", (unsigned long long)notes,
		       notes == 1 ? "" : "s");
	putchar('\n');
}

/* ---- JSON ------------------------------------------------------------ */

static void json_repair(struct json *j, enum vhd_finding_code code)
{
	const struct vhd_repair_info *repair = vhd_repair_info(code);

	if (!repair->text)
		return;
	json_string(j, "repair", repair->text);
	json_string(j, "repair-part", part_word(repair->part));
	json_bool(j, "repair-by-name", repair->named);
}

static void json_finding(struct json *j, const struct vhd_finding *f)
{
	const struct vhd_finding_info *info = vhd_finding_info(f->code);
	const char *field;
	char buf[64];

	json_open(j, NULL, '{');
	json_string(j, "code", info->name);
	json_string(j, "severity", severity_word(info->severity));
	json_string(j, "policy", policy_word(info->policy));
	json_string(j, "text", info->text);
	field = field_of(f->code, buf, sizeof(buf));
	if (field)
		json_string(j, "field", field);
	if (f->block != VHD_NO_BLOCK)
		json_number(j, "block", f->block);
	json_number(j, "offset", f->offset);
	json_number(j, "found", f->found);
	json_number(j, "expected", f->expected);
	json_repair(j, f->code);
	json_close(j, '}');
}

static void json_counts(struct json *j, const struct vhd_check *c)
{
	unsigned int i;

	json_open(j, "counts", '{');
	for (i = 0; i < VHD_NR_FINDINGS; i++)
		if (c->counts[i])
			json_number(j, vhd_finding_info(i)->name, c->counts[i]);
	json_close(j, '}');
}

/* Of a chain: the parent, or why there is none. */
static void json_parent(const struct wish *w)
{
	if (trouble(w))
		json_string(w->out, "parent-trouble", trouble(w));
	else if (w->layers && w->layer + 1 < w->layers->nr)
		json_string(w->out, "parent",
			    w->layers->layers[w->layer + 1]->path);
}

static void print_json(const struct wish *w, const struct vhd_check *c,
		       int code)
{
	struct json *j = w->out;
	const struct vhd_image *img = &c->file->image;
	unsigned int i, n;

	json_open(j, NULL, '{');
	json_string(j, "filename", c->file->path);
	json_string(j, "result", result_word(c, code));
	json_number(j, "file-size", c->file->size);
	if (c->file->loaded) {
		json_string(j, "type", type_name(img->type));
		json_number(j, "virtual-size", img->size);
	}
	if (c->file->loaded && img->bat) {
		json_number(j, "blocks", img->nr_blocks);
		json_number(j, "allocated-blocks", img->nr_allocated);
	}
	json_string(j, "attach", w->layers ?
			   attach_policy_word(vhd_check_policy(c)) :
			   attach_word(c->file, vhd_check_policy(c)));
	json_parent(w);
	json_counts(j, c);
	json_open(j, "findings", '[');
	for (i = 0; i < VHD_NR_FINDINGS; i++)
		for (n = 0; n < vhd_check_kept(c, i); n++)
			json_finding(j, &c->kept[i][n]);
	json_close(j, ']');
	json_close(j, '}');
}

/* ---- the table ------------------------------------------------------- */

static void json_policy(void)
{
	struct json j = { .out = stdout, .flat = true };
	const struct vhd_finding_info *info;
	unsigned int i;

	json_open(&j, NULL, '[');
	for (i = 0; i < VHD_NR_FINDINGS; i++) {
		info = vhd_finding_info(i);
		json_open(&j, NULL, '{');
		json_string(&j, "code", info->name);
		json_string(&j, "severity", severity_word(info->severity));
		json_string(&j, "policy", policy_word(info->policy));
		json_string(&j, "text", info->text);
		json_repair(&j, i);
		json_close(&j, '}');
	}
	json_close(&j, ']');
}

static int print_policy(bool json)
{
	const struct vhd_finding_info *info;
	unsigned int i;

	if (json) {
		json_policy();
		return CHECK_CLEAN;
	}
	printf("%-22s %-10s %-12s %s\n", "CODE", "SEVERITY", "ATTACH", "TEXT");
	for (i = 0; i < VHD_NR_FINDINGS; i++) {
		info = vhd_finding_info(i);
		printf("%-22s %-10s %-12s %s\n", info->name,
		       severity_word(info->severity), policy_word(info->policy),
		       info->text);
	}
	return CHECK_CLEAN;
}

/* ---- repair ---------------------------------------------------------- */

/* On stderr: stdout may be JSON. */
static void tell_repair(const char *what, u64 pos)
{
	if (verbosity >= 0)
		fprintf(stderr, "repair: %s (offset %llu)\n", what,
			(unsigned long long)pos);
}

/* Open for writing, and nobody else has it. */
static int open_alone(struct vhd_file *f, const char *path)
{
	struct device d;
	int err;

	err = vhd_file_open(f, path, true);
	if (err) {
		report_open(f, path, err);
		return CHECK_NOT_DONE;
	}
	err = vhd_lock_image(f->fd, true);
	if (!device_of_file(f->dev, f->ino, &d))
		error_msg(path, "is attached as /dev/%s; detach it first",
			  d.name);
	else if (err == -EBUSY)
		error_msg(path, "is in use by another process");
	else if (err)
		warning_msg(path, "cannot be locked against other programs: %s",
			    strerror(-err));
	return err == -EBUSY || !device_of_file(f->dev, f->ino, &d) ?
	       CHECK_NOT_DONE : CHECK_CLEAN;
}

/* IMAGE.vhd-undo, unless told otherwise. */
static char *undo_path(const struct wish *w, const char *path)
{
	char *name;

	if (w->undo_file)
		return strdup(w->undo_file);
	return asprintf(&name, "%s.vhd-undo", path) < 0 ? NULL : name;
}

static int repair_error(const char *path, const char *undo, int err)
{
	if (err == -EEXIST)
		error_msg(path, "cannot repair: there is an undo file already, \"%s\"; apply it with --undo, remove it, or name another one with --undo-file",
			  undo);
	else
		error_errno(path, "cannot repair", err);
	return CHECK_NOT_DONE;
}

static int run_repair(const struct wish *w, struct vhd_file *f, char *undo)
{
	struct vhd_repair *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;
	bool kept = false;

	if (r) {
		r->parts = w->parts;
		r->named = w->named;
		r->choice = w->choice;
		r->tell = tell_repair;
		err = vhd_repair(r, f, undo);
		kept = r->undo.end;
	}
	if (kept)
		verbose_msg(f->path, "what was overwritten is in \"%s\"", undo);
	free(r);
	return err ? repair_error(f->path, undo, err) : CHECK_CLEAN;
}

static int repair_image(const struct wish *w, const char *path)
{
	char *undo = undo_path(w, path);
	struct vhd_file f;
	int code;

	code = open_alone(&f, path);
	if (!code && S_ISBLK(f.mode) && !w->undo_file) {
		error_msg(path, "is a block device: --undo-file says where what is overwritten is to be kept");
		code = CHECK_NOT_DONE;
	}
	if (!code && undo)
		code = run_repair(w, &f, undo);
	else if (!code)
		code = repair_error(path, undo, -ENOMEM);
	vhd_file_close(&f);
	free(undo);
	return code;
}

static int undo_repair(const struct wish *w, const char *path)
{
	struct vhd_file f;
	int err, code;

	code = open_alone(&f, path);
	if (!code) {
		err = vhd_undo_apply(w->undo, f.fd, w->force);
		if (err == -EUCLEAN)
			error_msg(w->undo, "is no undo file");
		else if (err == -ESTALE)
			error_msg(path, "was changed after the repair; --force puts it back all the same");
		else if (err)
			error_errno(w->undo, "cannot undo", err);
		code = err ? CHECK_NOT_DONE : CHECK_CLEAN;
	}
	vhd_file_close(&f);
	return code;
}

/* ---- all of it ------------------------------------------------------- */

/* Could it be looked at, as far as it is sane? */
static bool looked_at(int err)
{
	return !err || err == -EUCLEAN || err == -EMEDIUMTYPE || err == -ENXIO;
}

static int check_open(struct vhd_check *c, struct vhd_file *f)
{
	int err;

	if (vhd_lock_writer(f->fd))
		warning_msg(f->path, "is being written by another process or attached; what is found may be out of date");
	meter_start("checking", false);
	err = vhd_check(c, f);
	meter_stop(!err);
	return err;
}

static int print_check(const struct wish *w, const struct vhd_check *c, int err)
{
	int code = check_code(c, err);

	if (w->json)
		print_json(w, c, code);
	else
		print_text(w, c, code);
	return code;
}

static int check_image(const struct wish *w, const char *path)
{
	struct vhd_check *c = calloc(1, sizeof(*c));
	struct vhd_file f;
	int err, code;

	if (!c) {
		error_errno(path, "cannot check", -ENOMEM);
		return CHECK_NOT_DONE;
	}
	c->azure = w->azure;
	c->windows = w->windows;
	err = vhd_file_open(&f, path, false);
	if (err) {
		report_open(&f, path, err);
		code = CHECK_NOT_DONE;
		goto out;
	}
	err = check_open(c, &f);
	if (looked_at(err) && w->layers)
		vhd_layers_judge(w->layers, w->layer, w->chain_err, &c->rep);
	if (looked_at(err)) {
		code = print_check(w, c, err);
	} else {
		error_errno(path, "cannot check", err);
		code = CHECK_NOT_DONE;
	}
out:
	vhd_file_close(&f);
	free(c);
	return code;
}

/* ---- chains ---------------------------------------------------------- */

/* Which of two is worse; what could not be looked at is the worst. */
static int worse(int a, int b)
{
	static const int order[] = {
		[CHECK_CLEAN] = 0, [CHECK_NOT_DONE] = 3, [CHECK_CORRUPT] = 2,
		[CHECK_REPAIRABLE] = 1,
	};

	return order[a] > order[b] ? a : b;
}

/* Each layer by itself, and how it fits the one below. */
static int check_layers(const struct wish *w, struct vhd_layers *c)
{
	struct wish one = *w;
	int code = CHECK_CLEAN;

	one.layers = c;
	one.chain_err = vhd_layers_parents(c, &w->parents, VHD_OPEN_FORCE);
	for (; one.layer < c->nr; one.layer++)
		code = worse(code, check_image(&one,
					       c->layers[one.layer]->path));
	fflush(stdout);
	if (!one.chain_err && chain_unused(c, &w->parents))
		code = worse(code, CHECK_CORRUPT);
	if (one.chain_err && !vhd_layers_judged(one.chain_err)) {
		chain_error(c, one.chain_err);
		code = CHECK_NOT_DONE;
	}
	return code;
}

static int check_chain(const struct wish *w, const char *path)
{
	struct vhd_layers c;
	struct vhd_file *top;
	int code;

	vhd_layers_init(&c);
	if (w->json)
		json_open(w->out, NULL, '[');
	top = chain_push_new(&c);
	if (!vhd_file_open(top, path, false) &&
	    !vhd_file_load(top, VHD_OPEN_FORCE))
		code = check_layers(w, &c);
	else
		code = check_image(w, path);
	if (w->json)
		json_close(w->out, ']');
	vhd_layers_close(&c);
	return code;
}

/* "footer:tail,bat" */
static void repair_option(struct wish *w, char *list)
{
	char *word, *rest = NULL;
	int i;

	w->repair = true;
	if (!list)
		w->parts = VHD_REPAIR_ALL;
	for (; list && (word = strtok_r(rest ? NULL : list, ",", &rest));) {
		i = parse_choice("--repair", word, part_words);
		if (i >= 5) {
			w->choice = i == 5 ? VHD_CHOOSE_HEAD : VHD_CHOOSE_TAIL;
			i = 0;
		}
		w->parts |= 1U << i;
		w->named |= 1U << i;
	}
}

static void one_option(struct wish *w, int c)
{
	switch (c) {
	case OPT_AZURE:
		w->azure = true;
		break;
	case OPT_WINDOWS:
		w->windows = true;
		break;
	case OPT_POLICY:
		w->policy = true;
		break;
	case OPT_REPAIR:
		repair_option(w, optarg);
		break;
	case OPT_UNDO:
		w->undo = optarg;
		break;
	case OPT_UNDO_FILE:
		w->undo_file = optarg;
		break;
	case OPT_FORCE:
		w->force = true;
		break;
	case OPT_CHAIN:
		w->chain = true;
		break;
	case 'J':
		w->json = true;
		break;
	default:
		w->chain |= parent_option(&w->parents, c, optarg);
	}
}

static int run_check(int argc, char **argv)
{
	struct json json = { .out = stdout };
	struct wish w = { .out = &json };
	int c;

	while ((c = next_option(&cmd_check, argc, argv, "J" COMMON_SHORT,
				options)) != -1)
		one_option(&w, c);
	if (w.policy && argc == optind)
		return print_policy(w.json);
	if (argc - optind != 1)
		return usage_error(&cmd_check, "expected one IMAGE");
	if (w.undo)
		return undo_repair(&w, argv[optind]);
	if (w.repair && repair_image(&w, argv[optind]))
		return CHECK_NOT_DONE;
	c = w.chain ? check_chain(&w, argv[optind]) :
		      check_image(&w, argv[optind]);
	parent_options_free(&w.parents);
	return c;
}

const struct command cmd_check = {
	.name = "check",
	.brief = "look for what is wrong with an image, and mend it",
	.help = help,
	.run = run_check,
};
