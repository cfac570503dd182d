/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vhd

#if !defined(_VHD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _VHD_TRACE_H

#include <linux/tracepoint.h>

#include "vhd.h"

TRACE_EVENT(vhd_commit,
	TP_PROTO(struct vhd_device *vhd, u32 blocks, u32 bitmaps, int error),
	TP_ARGS(vhd, blocks, bitmaps, error),
	TP_STRUCT__entry(
		__field(int, index)
		__field(u32, blocks)
		__field(u32, bitmaps)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->index = vhd->index;
		__entry->blocks = blocks;
		__entry->bitmaps = bitmaps;
		__entry->error = error;
	),
	TP_printk("vhd%d blocks %u bitmaps %u error %d", __entry->index,
		  __entry->blocks, __entry->bitmaps, __entry->error)
);

TRACE_EVENT(vhd_grow,
	TP_PROTO(struct vhd_device *vhd, u64 tail, int error),
	TP_ARGS(vhd, tail, error),
	TP_STRUCT__entry(
		__field(int, index)
		__field(u64, tail)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->index = vhd->index;
		__entry->tail = tail;
		__entry->error = error;
	),
	TP_printk("vhd%d tail %llu error %d", __entry->index, __entry->tail,
		  __entry->error)
);

TRACE_EVENT(vhd_merge,
	TP_PROTO(struct vhd_device *vhd, u32 pass, u64 left, int error),
	TP_ARGS(vhd, pass, left, error),
	TP_STRUCT__entry(
		__field(int, index)
		__field(u32, pass)
		__field(u64, left)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->index = vhd->index;
		__entry->pass = pass;
		__entry->left = left;
		__entry->error = error;
	),
	TP_printk("vhd%d pass %u left %llu error %d", __entry->index,
		  __entry->pass, __entry->left, __entry->error)
);

TRACE_EVENT(vhd_compact,
	TP_PROTO(struct vhd_device *vhd, u32 dropped, u32 moved, int error),
	TP_ARGS(vhd, dropped, moved, error),
	TP_STRUCT__entry(
		__field(int, index)
		__field(u32, dropped)
		__field(u32, moved)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->index = vhd->index;
		__entry->dropped = dropped;
		__entry->moved = moved;
		__entry->error = error;
	),
	TP_printk("vhd%d dropped %u moved %u error %d", __entry->index,
		  __entry->dropped, __entry->moved, __entry->error)
);

TRACE_EVENT(vhd_error,
	TP_PROTO(struct vhd_device *vhd, u32 op, u64 sector, int error),
	TP_ARGS(vhd, op, sector, error),
	TP_STRUCT__entry(
		__field(int, index)
		__field(u32, op)
		__field(u64, sector)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->index = vhd->index;
		__entry->op = op;
		__entry->sector = sector;
		__entry->error = error;
	),
	TP_printk("vhd%d op %u sector %llu error %d", __entry->index,
		  __entry->op, __entry->sector, __entry->error)
);

#endif /* _VHD_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
