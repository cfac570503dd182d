// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * replay FILE...: give a target these inputs; for compilers without libFuzzer.
 * A directory means the files in it; libFuzzer's options are ignored.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static void replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	static u8 buf[1 << 20];
	size_t n;
	u8 *copy;

	if (!file) {
		perror(path);
		exit(1);
	}
	n = fread(buf, 1, sizeof(buf), file);
	fclose(file);
	/* Of exact size, so that reading beyond it is noticed. */
	copy = malloc(n ? n : 1);
	if (!copy)
		exit(1);
	memcpy(copy, buf, n);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static void replay(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[4096];

	if (!dir) {
		replay_file(path);
		return;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		replay_file(name);
	}
	closedir(dir);
}

int main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (argv[i][0] != '-')
			replay(argv[i]);
	return 0;
}
