/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_SPINLOCK_H
#define _SHIM_LINUX_SPINLOCK_H

/*
 * A spinlock is a mutex here.  In debug builds lockdep_assert_held() is
 * checked as far as a mutex can tell: someone holds it.
 */
#include <pthread.h>

#include <linux/bug.h>

typedef struct {
	pthread_mutex_t mutex;
} spinlock_t;

#define spin_lock_init(l)	pthread_mutex_init(&(l)->mutex, NULL)
#define spin_lock(l)		pthread_mutex_lock(&(l)->mutex)
#define spin_unlock(l)		pthread_mutex_unlock(&(l)->mutex)
#define spin_lock_irq(l)	spin_lock(l)
#define spin_unlock_irq(l)	spin_unlock(l)
#define spin_lock_irqsave(l, flags) do {				\
	(flags) = 0;							\
	spin_lock(l);							\
} while (0)
#define spin_unlock_irqrestore(l, flags) do {				\
	(void)(flags);							\
	spin_unlock(l);							\
} while (0)

#ifdef VHD_SHIM_DEBUG
static inline void shim_assert_held(spinlock_t *l)
{
	if (!pthread_mutex_trylock(&l->mutex)) {
		pthread_mutex_unlock(&l->mutex);
		BUG();
	}
}
#define lockdep_assert_held(l)	shim_assert_held(l)
#else
#define lockdep_assert_held(l)	((void)(l))
#endif

#endif /* _SHIM_LINUX_SPINLOCK_H */
