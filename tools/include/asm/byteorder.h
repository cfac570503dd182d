/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_ASM_BYTEORDER_H
#define _SHIM_ASM_BYTEORDER_H

#include_next <asm/byteorder.h>

#define cpu_to_be16(x)	__cpu_to_be16(x)
#define cpu_to_be32(x)	__cpu_to_be32(x)
#define cpu_to_be64(x)	__cpu_to_be64(x)
#define be16_to_cpu(x)	__be16_to_cpu(x)
#define be32_to_cpu(x)	__be32_to_cpu(x)
#define be64_to_cpu(x)	__be64_to_cpu(x)
#define be16_to_cpup(p)	__be16_to_cpup(p)
#define be32_to_cpup(p)	__be32_to_cpup(p)
#define be64_to_cpup(p)	__be64_to_cpup(p)
#define be32_add_cpu(p, v) (*(p) = cpu_to_be32(be32_to_cpup(p) + (v)))

#endif /* _SHIM_ASM_BYTEORDER_H */
