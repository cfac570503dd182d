// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdatomic.h>

#include "progress.h"

static _Atomic u64 progress_done, progress_total;

void vhd_progress_begin(u64 total)
{
	atomic_store(&progress_done, 0);
	atomic_store(&progress_total, total);
}

void vhd_progress_add(u64 n)
{
	atomic_fetch_add_explicit(&progress_done, n, memory_order_relaxed);
}

void vhd_progress_set(u64 done)
{
	atomic_store_explicit(&progress_done, done, memory_order_relaxed);
}

void vhd_progress_get(u64 *done, u64 *total)
{
	*total = atomic_load(&progress_total);
	*done = atomic_load_explicit(&progress_done, memory_order_relaxed);
}
