// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "utf16.h"

/* Every unit and pair there is comes back as it was, in both orders. */
static void round_trip(const u8 *in, size_t bytes, bool big_endian)
{
	char *text = vhd_utf16_decode(in, bytes, big_endian);
	size_t n;
	u8 *back;

	assert_non_null(text);
	assert_int_equal(vhd_utf16_encode(text, big_endian, &back, &n), 0);
	assert_int_equal(n, bytes);
	assert_memory_equal(back, in, bytes);
	free(back);
	free(text);
}

static void every_unit_comes_back(void **state)
{
	u32 c;

	for (c = 1; c < 0x10000; c++) {
		u8 big[] = { c >> 8, c, 0, 'x' };
		u8 little[] = { c, c >> 8, 'x', 0 };

		round_trip(big, sizeof(big), true);
		round_trip(little, sizeof(little), false);
	}
}

static void every_pair_comes_back(void **state)
{
	u32 high, low;

	for (high = 0xD800; high < 0xDC00; high++) {
		for (low = 0xDC00; low < 0xE000; low += 0x3F) {
			u8 units[] = { high >> 8, high, low >> 8, low };

			round_trip(units, sizeof(units), true);
		}
	}
}

static void halves_in_the_wrong_order_are_kept(void **state)
{
	const u8 units[] = { 0xDC, 1, 0xD8, 2, 0, 'a', 0xD8, 3, 0xD8, 4 };

	round_trip(units, sizeof(units), true);
}

static void decoding_ends_at_nul_and_leaves_an_odd_byte(void **state)
{
	char *text = vhd_utf16_decode("a\0b\0\0\0c\0", 8, false);

	assert_string_equal(text, "ab");
	free(text);
	text = vhd_utf16_decode("a\0b", 3, false);
	assert_string_equal(text, "a");
	free(text);
	text = vhd_utf16_decode("", 0, false);
	assert_string_equal(text, "");
	free(text);
	/* A first half at the end must not look behind it. */
	text = vhd_utf16_decode("\x00\xD8", 2, false);
	assert_string_equal(text, "\xED\xA0\x80");
	free(text);
}

static void what_is_not_utf8_is_refused(void **state)
{
	static const char *const bad[] = {
		"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF",
		"\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
		"\xF5\x80\x80\x80", "\xFF", "a\xC3", "\xE2\x82", "\xF0\x9F\x98",
		"\xC3(", "\xE2(\xA1", "\xF0\x28\x8C\xBC",
		/* two halves that would come back as one character */
		"\xED\xA0\x80\xED\xB0\x80",
	};
	size_t i, n;
	u8 *out;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(vhd_utf16_encode(bad[i], true, &out, &n),
				 -EILSEQ);
		assert_null(out);
	}
}

static void known_text_has_known_units(void **state)
{
	const u8 want[] = { 0xE4, 0, 0x3D, 0xD8, 0x00, 0xDE, 0xC1, 0x78 };
	size_t n;
	u8 *out;

	assert_int_equal(vhd_utf16_encode("ä😀磁", false, &out, &n), 0);
	assert_int_equal(n, sizeof(want));
	assert_memory_equal(out, want, n);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_unit_comes_back),
		cmocka_unit_test(every_pair_comes_back),
		cmocka_unit_test(halves_in_the_wrong_order_are_kept),
		cmocka_unit_test(decoding_ends_at_nul_and_leaves_an_odd_byte),
		cmocka_unit_test(what_is_not_utf8_is_refused),
		cmocka_unit_test(known_text_has_known_units),
	};

	return run_group("utf16", tests);
}
