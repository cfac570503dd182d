// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/errno.h>
#include <linux/kernel.h>

#include "finding.h"

static const struct vhd_finding_info vhd_findings[VHD_NR_FINDINGS] = {
#define X(_name, _code, _policy, _severity, _error, _text) \
	[VHD_FIND_##_name] = { \
		.name = _code, \
		.policy = VHD_POLICY_##_policy, \
		.severity = VHD_SEV_##_severity, \
		.error = _error, \
		.text = _text, \
	},
	VHD_FINDINGS(X)
#undef X
};

const struct vhd_finding_info *vhd_finding_info(enum vhd_finding_code code)
{
	return &vhd_findings[code];
}

void vhd_finding_line(const struct vhd_finding *f, char *buf, size_t len)
{
	const char *text = vhd_findings[f->code].text;

	if (f->block != VHD_NO_BLOCK)
		scnprintf(buf, len,
			  "%s (block %u, offset %llu): found %#llx, expected %#llx",
			  text, f->block, (unsigned long long)f->offset,
			  (unsigned long long)f->found,
			  (unsigned long long)f->expected);
	else
		scnprintf(buf, len,
			  "%s (offset %llu): found %#llx, expected %#llx",
			  text, (unsigned long long)f->offset,
			  (unsigned long long)f->found,
			  (unsigned long long)f->expected);
}
