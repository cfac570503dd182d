// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "rig.h"

static void every_finding_is_complete(void **state)
{
	const struct vhd_finding_info *info;
	u32 i;

	for (i = 0; i < VHD_NR_FINDINGS; i++) {
		info = vhd_finding_info(i);
		assert_non_null(info->name);
		assert_non_null(info->text);
		assert_true(info->error > 0);
		assert_in_range(info->policy, VHD_POLICY_INFO,
				VHD_POLICY_REFUSE);
		assert_in_range(info->severity, VHD_SEV_NOTE, VHD_SEV_CORRUPT);
	}
}

static void names_are_unique_and_plain(void **state)
{
	const char *plain = "abcdefghijklmnopqrstuvwxyz0123456789-";
	const char *name;
	u32 i, j;

	for (i = 0; i < VHD_NR_FINDINGS; i++) {
		name = vhd_finding_info(i)->name;
		assert_int_equal(strspn(name, plain), strlen(name));
		for (j = 0; j < i; j++)
			assert_string_not_equal(name,
						vhd_finding_info(j)->name);
	}
}

static void not_a_vhd_has_its_own_errno(void **state)
{
	assert_int_equal(vhd_finding_info(VHD_FIND_NO_FOOTER)->error,
			 EMEDIUMTYPE);
	assert_int_equal(vhd_finding_info(VHD_FIND_FOOTER_TYPE)->error,
			 EUCLEAN);
	assert_int_equal(vhd_finding_info(VHD_FIND_PARENT_ID)->error, ENXIO);
}

static void line_names_place_and_both_values(void **state)
{
	struct vhd_finding f = {
		.code = VHD_FIND_SIZE_UNALIGNED,
		.block = VHD_NO_BLOCK,
		.offset = 48,
		.found = 0xFFFFFFFFFFFFFFFF,
		.expected = 0x200,
	};
	char line[256];

	vhd_finding_line(&f, line, sizeof(line));
	assert_string_equal(line,
		"footer.current_size is not a multiple of 512 (offset 48): found 0xffffffffffffffff, expected 0x200");
	f.code = VHD_FIND_BLOCK_OVERLAP;
	f.block = 7;
	vhd_finding_line(&f, line, sizeof(line));
	assert_string_equal(line,
		"two blocks overlap (block 7, offset 48): found 0xffffffffffffffff, expected 0x200");
}

static void line_is_cut_to_the_buffer(void **state)
{
	struct vhd_finding f = { .code = VHD_FIND_SLACK };
	char line[16];

	memset(line, 'x', sizeof(line));
	vhd_finding_line(&f, line, 8);
	assert_int_equal(strlen(line), 7);
	assert_int_equal(line[8], 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_finding_is_complete),
		cmocka_unit_test(names_are_unique_and_plain),
		cmocka_unit_test(not_a_vhd_has_its_own_errno),
		cmocka_unit_test(line_names_place_and_both_values),
		cmocka_unit_test(line_is_cut_to_the_buffer),
	};

	return run_group("finding", tests);
}
