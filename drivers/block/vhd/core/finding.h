/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Findings: everything that can be wrong or unusual with an image, and what it
 * means for attaching it.  One table serves module and tool.
 */
#ifndef _VHD_CORE_FINDING_H
#define _VHD_CORE_FINDING_H

#include <linux/types.h>

/**
 * enum vhd_policy - what a finding means for attach
 * @VHD_POLICY_INFO: nothing
 * @VHD_POLICY_WARN: attach, with a message
 * @VHD_POLICY_READ_ONLY: attach read-only, with a message
 * @VHD_POLICY_FORCE_RW: read-only, read-write with VHD_OPEN_FORCE
 * @VHD_POLICY_FORCE_RO: refuse, read-only with VHD_OPEN_FORCE
 * @VHD_POLICY_REFUSE: refuse
 */
enum vhd_policy {
	VHD_POLICY_INFO,
	VHD_POLICY_WARN,
	VHD_POLICY_READ_ONLY,
	VHD_POLICY_FORCE_RW,
	VHD_POLICY_FORCE_RO,
	VHD_POLICY_REFUSE,
};

/**
 * enum vhd_severity - what a finding means to check
 * @VHD_SEV_NOTE: unusual but within the rules
 * @VHD_SEV_COSMETIC: against a rule, without harm
 * @VHD_SEV_REPAIRABLE: must be mended, nothing is lost by mending
 * @VHD_SEV_CORRUPT: data may be lost
 */
enum vhd_severity {
	VHD_SEV_NOTE,
	VHD_SEV_COSMETIC,
	VHD_SEV_REPAIRABLE,
	VHD_SEV_CORRUPT,
};

/*
 * X(name, stable code, policy, severity, errno of a refusal, text)
 * The text is followed by the values: "found F, expected E" (or "limit").
 */
#define VHD_FINDINGS(X) \
	X(FILE_TOO_SMALL, "file-too-small", REFUSE, CORRUPT, EMEDIUMTYPE, \
	  "not a VHD: the file is smaller than a footer") \
	X(NO_FOOTER, "no-footer", REFUSE, CORRUPT, EMEDIUMTYPE, \
	  "not a VHD: no valid footer at the end or the beginning of the file") \
	X(FOOTER_CHECKSUM, "footer-checksum", REFUSE, CORRUPT, EUCLEAN, \
	  "footer.checksum is wrong and there is no good copy") \
	X(FOOTER_POISON, "footer-poison", REFUSE, CORRUPT, EUCLEAN, \
	  "footer.cookie is v_poison: a resize by tapdisk was interrupted") \
	X(TAIL_BAD, "tail-bad", READ_ONLY, REPAIRABLE, EUCLEAN, \
	  "the footer at the end is missing or damaged, its copy at 0 is good") \
	X(TAIL_CHECKSUM_ZERO, "tail-checksum-zero", READ_ONLY, REPAIRABLE, EUCLEAN, \
	  "footer.checksum at the end is 0, as an old qemu leaves it") \
	X(HEAD_BAD, "head-bad", READ_ONLY, REPAIRABLE, EUCLEAN, \
	  "the copy of the footer at 0 is missing or damaged") \
	X(HEAD_DIFFERS, "head-differs", READ_ONLY, REPAIRABLE, EUCLEAN, \
	  "the footer and its copy at 0 are both valid and differ") \
	X(FOOTER_511, "footer-511", WARN, COSMETIC, EUCLEAN, \
	  "the footer has 511 bytes, as old Virtual PC wrote it") \
	X(FOOTER_FEATURES_ZERO, "footer-features-zero", WARN, COSMETIC, EUCLEAN, \
	  "footer.features lacks the reserved bit") \
	X(FOOTER_FEATURES, "footer-features", READ_ONLY, NOTE, EUCLEAN, \
	  "footer.features has unknown bits") \
	X(FOOTER_VERSION, "footer-version", REFUSE, CORRUPT, EUCLEAN, \
	  "footer.version is not supported") \
	X(FOOTER_DATA_OFFSET, "footer-data-offset", REFUSE, CORRUPT, EUCLEAN, \
	  "footer.data_offset does not point to a dynamic header inside the file") \
	X(FOOTER_FIXED_OFFSET, "footer-fixed-offset", WARN, COSMETIC, EUCLEAN, \
	  "footer.data_offset of a fixed image is not all ones") \
	X(FOOTER_TYPE, "footer-type", REFUSE, CORRUPT, EUCLEAN, \
	  "footer.disk_type is unknown") \
	X(SIZE_ZERO, "size-zero", REFUSE, CORRUPT, EUCLEAN, \
	  "footer.current_size is 0") \
	X(SIZE_UNALIGNED, "size-unaligned", REFUSE, CORRUPT, EUCLEAN, \
	  "footer.current_size is not a multiple of 512") \
	X(SIZE_TOO_LARGE, "size-too-large", REFUSE, CORRUPT, EUCLEAN, \
	  "footer.current_size is over the limit of the format") \
	X(FIXED_TRUNCATED, "fixed-truncated", READ_ONLY, CORRUPT, EUCLEAN, \
	  "the file is shorter than footer.current_size") \
	X(GEOMETRY, "geometry", INFO, NOTE, EUCLEAN, \
	  "footer.geometry is not the one for footer.current_size (sectors)") \
	X(NULL_ID, "null-id", WARN, COSMETIC, EUCLEAN, \
	  "footer.unique_id is null") \
	X(SAVED_STATE, "saved-state", FORCE_RW, NOTE, EUCLEAN, \
	  "footer.saved_state is set: a suspended machine depends on the content") \
	X(HEADER_COOKIE, "header-cookie", REFUSE, CORRUPT, EUCLEAN, \
	  "header.cookie is not cxsparse") \
	X(HEADER_CHECKSUM, "header-checksum", FORCE_RO, CORRUPT, EUCLEAN, \
	  "header.checksum is wrong") \
	X(HEADER_VERSION, "header-version", REFUSE, CORRUPT, EUCLEAN, \
	  "header.header_version is not supported") \
	X(HEADER_DATA_OFFSET, "header-data-offset", REFUSE, CORRUPT, EUCLEAN, \
	  "header.data_offset is not all ones") \
	X(BLOCK_SIZE, "block-size", REFUSE, CORRUPT, EUCLEAN, \
	  "header.block_size is not a power of two within the limits") \
	X(BLOCK_SIZE_RO, "block-size-ro", READ_ONLY, NOTE, EUCLEAN, \
	  "header.block_size is outside 512 KiB to 2 MiB") \
	X(TABLE_OFFSET, "table-offset", REFUSE, CORRUPT, EUCLEAN, \
	  "header.table_offset is zero, unaligned or outside the file") \
	X(TABLE_SMALL, "table-small", REFUSE, CORRUPT, EUCLEAN, \
	  "header.max_table_entries is too small for footer.current_size") \
	X(TABLE_LARGE, "table-large", REFUSE, CORRUPT, EUCLEAN, \
	  "the block allocation table would need more entries than supported") \
	X(TABLE_SLACK, "table-slack", INFO, NOTE, EUCLEAN, \
	  "header.max_table_entries is larger than footer.current_size needs") \
	X(TABLE_METADATA, "table-metadata", REFUSE, CORRUPT, EUCLEAN, \
	  "the block allocation table overlaps footer or header") \
	X(BLOCK_METADATA, "block-metadata", READ_ONLY, CORRUPT, EUCLEAN, \
	  "a block lies in the image's metadata") \
	X(BLOCK_END, "block-end", READ_ONLY, CORRUPT, EUCLEAN, \
	  "a block reaches beyond the end of the file or into the footer") \
	X(BLOCK_OVERLAP, "block-overlap", READ_ONLY, CORRUPT, EUCLEAN, \
	  "two blocks overlap") \
	X(BITMAP_CLEAR, "bitmap-clear", INFO, NOTE, EUCLEAN, \
	  "a block of a dynamic image has clear bits in its sector bitmap (number of bits)") \
	X(LOCATOR, "locator", READ_ONLY, REPAIRABLE, EUCLEAN, \
	  "a parent locator is too long, or lies outside the file or in the table") \
	X(BATMAP, "batmap", INFO, NOTE, EUCLEAN, \
	  "the image has a blktap batmap") \
	X(BATMAP_ENCRYPTED, "batmap-encrypted", REFUSE, NOTE, EUCLEAN, \
	  "the image is encrypted (blktap batmap key)") \
	X(SLACK, "slack", INFO, COSMETIC, EUCLEAN, \
	  "there is slack before the footer: the last user did not detach") \
	/* What open does not look at, and only check tells. */ \
	X(FILE_UNALIGNED, "file-unaligned", INFO, NOTE, EUCLEAN, \
	  "the file's size is not a multiple of 512") \
	X(FILE_LONG, "file-long", INFO, NOTE, EUCLEAN, \
	  "the file of a fixed image is longer than footer.current_size needs") \
	X(FOOTER_MINOR, "footer-minor", INFO, NOTE, EUCLEAN, \
	  "footer.version has an unknown minor number") \
	X(FOOTER_TEMPORARY, "footer-temporary", INFO, NOTE, EUCLEAN, \
	  "footer.features says that the disk is temporary") \
	X(FOOTER_TIMESTAMP, "footer-timestamp", INFO, NOTE, EUCLEAN, \
	  "footer.timestamp is in the future") \
	X(FOOTER_CREATOR_OS, "footer-creator-os", INFO, NOTE, EUCLEAN, \
	  "footer.creator_os is neither Windows nor Macintosh") \
	X(FOOTER_ORIGINAL_SIZE, "footer-original-size", INFO, NOTE, EUCLEAN, \
	  "footer.original_size is no possible size") \
	X(FOOTER_SAVED, "footer-saved-value", INFO, NOTE, EUCLEAN, \
	  "footer.saved_state is neither 0 nor 1") \
	X(FOOTER_HIDDEN, "footer-hidden", INFO, NOTE, EUCLEAN, \
	  "footer.hidden is set, as blktap marks images that others depend on") \
	X(FOOTER_RESERVED, "footer-reserved", INFO, NOTE, EUCLEAN, \
	  "footer.reserved is not all zero") \
	X(HEADER_MINOR, "header-minor", INFO, NOTE, EUCLEAN, \
	  "header.header_version has an unknown minor number") \
	X(HEADER_RESERVED, "header-reserved", INFO, NOTE, EUCLEAN, \
	  "header has reserved bytes that are not zero") \
	X(HEADER_PARENT, "header-parent", INFO, NOTE, EUCLEAN, \
	  "header names a parent, but the image is not a differencing one") \
	X(PARENT_NULL_ID, "parent-null-id", INFO, NOTE, EUCLEAN, \
	  "header.parent_unique_id is null") \
	X(PARENT_UNNAMED, "parent-unnamed", INFO, NOTE, EUCLEAN, \
	  "neither header.parent_name nor a locator tells where the parent is") \
	X(TABLE_END, "table-end", INFO, COSMETIC, EUCLEAN, \
	  "header.max_table_entries states a table that reaches into something else") \
	X(TABLE_SURPLUS, "table-surplus", INFO, COSMETIC, EUCLEAN, \
	  "an entry of the table beyond the disk's end is in use") \
	X(TABLE_PADDING, "table-padding", INFO, NOTE, EUCLEAN, \
	  "the padding behind the table is not all ones") \
	X(LOCATOR_OVERLAP, "locator-overlap", INFO, COSMETIC, EUCLEAN, \
	  "a parent locator's data overlaps other metadata") \
	X(LOCATOR_SPACE, "locator-space", INFO, NOTE, EUCLEAN, \
	  "a parent locator's reserved space overlaps something or ends beyond the file") \
	X(LOCATOR_CODE, "locator-code", INFO, NOTE, EUCLEAN, \
	  "a parent locator's platform code is unknown") \
	X(LOCATOR_TEXT, "locator-text", INFO, NOTE, EUCLEAN, \
	  "a parent locator's data is empty or no UTF-16 text") \
	X(BATMAP_BAD, "batmap-bad", INFO, NOTE, EUCLEAN, \
	  "the batmap's header or checksum is wrong") \
	X(BATMAP_BITS, "batmap-bits", INFO, NOTE, EUCLEAN, \
	  "the batmap calls blocks fully populated that are not (number of blocks)") \
	X(BITMAP_DATA, "bitmap-data", INFO, REPAIRABLE, EUCLEAN, \
	  "under clear bits of a dynamic image lie data, which some readers show (number of sectors)") \
	X(BITMAP_BEYOND, "bitmap-beyond", INFO, NOTE, EUCLEAN, \
	  "a sector bitmap has bits set beyond the end of the disk") \
	X(GAP, "gap", INFO, NOTE, EUCLEAN, \
	  "space that nothing uses lies between blocks (bytes in all)") \
	X(SLACK_DATA, "slack-data", INFO, NOTE, EUCLEAN, \
	  "the slack before the footer is not all zero (number of sectors)") \
	/* What others would refuse; only when asked for. */ \
	X(AZURE_TYPE, "azure-type", INFO, COSMETIC, EUCLEAN, \
	  "Azure takes fixed images only (footer.disk_type)") \
	X(AZURE_SIZE, "azure-size", INFO, COSMETIC, EUCLEAN, \
	  "Azure takes whole MiB only (footer.current_size)") \
	X(AZURE_FILE, "azure-file", INFO, COSMETIC, EUCLEAN, \
	  "Azure takes files of footer.current_size and a footer only (bytes)") \
	X(AZURE_OS, "azure-os", INFO, COSMETIC, EUCLEAN, \
	  "Azure takes footer.creator_os Wi2k only") \
	X(WINDOWS_SIZE, "windows-size", INFO, COSMETIC, EUCLEAN, \
	  "Windows takes at most 2040 GiB (footer.current_size)") \
	X(WINDOWS_BLOCK_SIZE, "windows-block-size", INFO, COSMETIC, EUCLEAN, \
	  "Windows takes blocks of 512 KiB and 2 MiB only (header.block_size)") \
	X(WINDOWS_TAIL, "windows-tail", INFO, COSMETIC, EUCLEAN, \
	  "Windows wants a footer of 512 bytes at a multiple of 512") \
	X(PARENT, "parent", REFUSE, NOTE, ENXIO, \
	  "the image needs its parents: number of layers given") \
	X(PARENT_ID, "parent-id", REFUSE, CORRUPT, ENXIO, \
	  "header.parent_unique_id is not the parent's id") \
	/* How an image and its parents fit; only who opens them by name can tell. */ \
	X(PARENT_MISSING, "parent-missing", REFUSE, CORRUPT, ENXIO, \
	  "no parent of the image is where it says (number of layers)") \
	X(PARENT_CYCLE, "parent-cycle", REFUSE, CORRUPT, EINVAL, \
	  "the parent is the image itself, or one that depends on it (number of layers)") \
	X(PARENT_DEPTH, "parent-depth", REFUSE, CORRUPT, EINVAL, \
	  "the chain has more layers than are supported") \
	X(PARENT_SIZE, "parent-size", WARN, COSMETIC, EUCLEAN, \
	  "footer.current_size is not that of the parent") \
	X(PARENT_TIME, "parent-time", WARN, COSMETIC, EUCLEAN, \
	  "header.parent_timestamp is not the parent's: it was changed after the image was made")

enum vhd_finding_code {
#define X(name, ...) VHD_FIND_##name,
	VHD_FINDINGS(X)
#undef X
	VHD_NR_FINDINGS
};

#define VHD_NO_BLOCK	0xFFFFFFFFU

/**
 * struct vhd_finding - one finding in one image
 * @code: what it is
 * @offset: where in the file, bytes
 * @block: number of the block concerned, or VHD_NO_BLOCK
 * @found: the value found
 * @expected: the value, or the limit, it disagrees with
 */
struct vhd_finding {
	enum vhd_finding_code code;
	u32 block;
	u64 offset;
	u64 found;
	u64 expected;
};

/**
 * struct vhd_finding_info - what holds for every finding of one code
 * @name: stable code, for programs and documentation
 * @policy: what it forbids
 * @severity: how grave it is
 * @error: positive errno of an attach refused because of it
 * @text: one line, no full stop
 */
struct vhd_finding_info {
	const char *name;
	enum vhd_policy policy;
	enum vhd_severity severity;
	int error;
	const char *text;
};

/*
 * struct vhd_reporter - who is told of findings
 *
 * Called for each finding as it is made, in process context, no locks held.
 */
struct vhd_reporter {
	void (*report)(struct vhd_reporter *rep, const struct vhd_finding *f);
};

/** vhd_finding_info - the table's row; @code must be valid */
const struct vhd_finding_info *vhd_finding_info(enum vhd_finding_code code);

/**
 * vhd_finding_line - format a finding as one line of text
 * @f: the finding
 * @buf: receives "text (block B, offset O): found F, expected E"
 * @len: bytes of @buf
 */
void vhd_finding_line(const struct vhd_finding *f, char *buf, size_t len);

#endif /* _VHD_CORE_FINDING_H */
