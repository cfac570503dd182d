/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_COMPILER_H
#define _SHIM_LINUX_COMPILER_H

/* The kernel's annotations, as far as the core uses them. */
#include <linux/types.h>

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define barrier()	__asm__ __volatile__("" ::: "memory")

/* Relaxed atomics rather than volatile, so that TSan knows what is meant. */
#define READ_ONCE(x)	 __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

#define smp_load_acquire(p)	__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_wmb()		__atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_rmb()		__atomic_thread_fence(__ATOMIC_ACQUIRE)
/* Atomic bit operations of this shim are at least acquire or release. */
#define smp_mb__before_atomic()	__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_mb__after_atomic()	__atomic_thread_fence(__ATOMIC_SEQ_CST)

#ifndef __always_inline
#define __always_inline	inline __attribute__((always_inline))
#endif
#ifndef __packed
#define __packed	__attribute__((packed))
#endif
#define __maybe_unused	__attribute__((unused))
#define __must_check	__attribute__((warn_unused_result))
#ifndef __force
#define __force
#endif
#define __must_hold(x)
#define __acquires(x)
#define __releases(x)
#ifndef fallthrough
#define fallthrough	__attribute__((fallthrough))
#endif
#define static_assert	_Static_assert

#endif /* _SHIM_LINUX_COMPILER_H */
