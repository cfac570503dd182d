// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * queue SECONDS SEED: requests on their way to a worker, under ThreadSanitizer.
 *
 * The functions of io.c between queue_rq and the handling of a request, and all of
 * linger.c, are compiled as they are (queue.inc, see the Makefile) over what little
 * of the kernel they use: a list without lock, a thread that sleeps and is woken,
 * with the barriers that the kernel promises.  Submitters fill in requests, queue
 * them one by one or some at a time, and wait for them; the worker finds everything
 * that was filled in, hands it back, and sleeps whenever it likes.  Some take the
 * fast lane and never come to it, be they the last of several.  Others read the
 * counters and wait for the worker to come round.  Status 66: a race; 3: a request
 * that nobody was woken for.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;
typedef int64_t s64;
typedef uint8_t u8;
typedef int blk_status_t;

#define BLK_STS_OK		0
#define PF_LOCAL_THROTTLE	1
#define PF_MEMALLOC_NOIO	2
#define NSEC_PER_USEC		1000ULL
#define NSEC_PER_MSEC		1000000ULL
#define NSEC_PER_SEC		1000000000ULL
#define ____cacheline_aligned_in_smp __attribute__((aligned(64)))
/* What a pointer leads to was written before the pointer: an address dependency. */
#define READ_ONCE(x)		__atomic_load_n(&(x), \
				__builtin_classify_type(x) == 5 ? \
				__ATOMIC_ACQUIRE : __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define min(a, b)		((a) < (b) ? (a) : (b))
#define min_t(t, a, b)		min((t)(a), (t)(b))
#define max(a, b)		((a) > (b) ? (a) : (b))
#define clamp_t(t, v, lo, hi)	((t)(v) < (t)(lo) ? (t)(lo) : \
				 (t)(v) > (t)(hi) ? (t)(hi) : (t)(v))
#define container_of(p, t, m)	((t *)((char *)(p) - offsetof(t, m)))
#define module_param_named(...)
#define MODULE_PARM_DESC(...)

static void __attribute__((noreturn)) die(int status, const char *why)
{
	fprintf(stderr, "%s\n", why);
	_exit(status);
}

static u64 local_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

/* ---- the list without lock ------------------------------------------------ */

struct llist_node {
	struct llist_node *next;
};

struct llist_head {
	struct llist_node *first;
};

/* A full barrier, as cmpxchg() is. */
static void llist_add(struct llist_node *new, struct llist_head *head)
{
	struct llist_node *first = READ_ONCE(head->first);

	do {
		new->next = first;
	} while (!__atomic_compare_exchange_n(&head->first, &first, new, false,
					      __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
}

static struct llist_node *llist_del_all(struct llist_head *head)
{
	return __atomic_exchange_n(&head->first, NULL, __ATOMIC_SEQ_CST);
}

static bool llist_empty(const struct llist_head *head)
{
	return !__atomic_load_n(&head->first, __ATOMIC_SEQ_CST);
}

static struct llist_node *llist_reverse_order(struct llist_node *head)
{
	struct llist_node *new = NULL, *next;

	for (; head; head = next) {
		next = head->next;
		head->next = new;
		new = head;
	}
	return new;
}

#define llist_for_each_entry_safe(pos, n, list, member) \
	for (struct llist_node *_at = (list), *_next; \
	     _at && (pos = container_of(_at, typeof(*pos), member), \
		     _next = _at->next, n = NULL, true); _at = _next)

/* ---- a thread that sleeps and is woken ------------------------------------- */

enum { TASK_RUNNING, TASK_IDLE };

struct task_struct {
	pthread_t id;
	unsigned int flags;
	int state;
	bool stop;
	bool asleep;	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t woken;
};

static __thread struct task_struct *current;

static void current_restore_flags(unsigned int old, unsigned int flags)
{
	current->flags = (current->flags & ~flags) | (old & flags);
}

static __thread u64 random_state;

static u64 chance(u64 n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 20) % n;
}

/* With the full barrier that smp_store_mb() is; and now and then all come before. */
static void set_current_state(int state)
{
	if (!chance(16))
		usleep(50);
	__atomic_store_n(&current->state, state, __ATOMIC_SEQ_CST);
}

static void __set_current_state(int state)
{
	WRITE_ONCE(current->state, state);
}

static void schedule(void)
{
	pthread_mutex_lock(&current->lock);
	current->asleep = true;
	while (READ_ONCE(current->state) != TASK_RUNNING)
		pthread_cond_wait(&current->woken, &current->lock);
	current->asleep = false;
	pthread_mutex_unlock(&current->lock);
}

static void wake_up_process(struct task_struct *t)
{
	pthread_mutex_lock(&t->lock);
	__atomic_store_n(&t->state, TASK_RUNNING, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&t->woken);
	pthread_mutex_unlock(&t->lock);
}

static bool kthread_should_stop(void)
{
	return __atomic_load_n(&current->stop, __ATOMIC_SEQ_CST);
}

static bool single_task_running(void) { return chance(2); }
static bool need_resched(void) { return !chance(8); }
static void cpu_relax(void) { }
static void yield(void) { sched_yield(); }
static void cond_resched(void) { }
static void set_freezable(void) { }
static void try_to_freeze(void) { }
static void memalloc_noio_save(void) { }
static void usleep_range(int lo, int hi) { usleep(lo); }

/* ---- a work of a workqueue, and the thread that does it --------------------- */

struct work_struct {
	bool pending;
	bool running;	/* under lock, as is what follows */
	bool stop;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

/* What was written before is seen by the work, which begins anew if it is at work. */
static bool queue_work(void *wq, struct work_struct *work)
{
	if (__atomic_exchange_n(&work->pending, true, __ATOMIC_SEQ_CST))
		return false;
	pthread_mutex_lock(&work->lock);
	pthread_cond_broadcast(&work->changed);
	pthread_mutex_unlock(&work->lock);
	return true;
}

static bool work_idle(struct work_struct *work)
{
	return !__atomic_load_n(&work->pending, __ATOMIC_SEQ_CST) && !work->running;
}

static bool flush_work(struct work_struct *work)
{
	pthread_mutex_lock(&work->lock);
	while (!work_idle(work))
		pthread_cond_wait(&work->changed, &work->lock);
	pthread_mutex_unlock(&work->lock);
	return true;
}

static void do_work(struct work_struct *work, void (*fn)(struct work_struct *))
{
	pthread_mutex_lock(&work->lock);
	while (!work->stop) {
		if (!__atomic_load_n(&work->pending, __ATOMIC_SEQ_CST)) {
			pthread_cond_wait(&work->changed, &work->lock);
			continue;
		}
		work->running = true;
		__atomic_store_n(&work->pending, false, __ATOMIC_SEQ_CST);
		pthread_mutex_unlock(&work->lock);
		fn(work);
		pthread_mutex_lock(&work->lock);
		work->running = false;
		pthread_cond_broadcast(&work->changed);
	}
	pthread_mutex_unlock(&work->lock);
}

struct blk_plug { int unused; };
static void blk_start_plug(struct blk_plug *plug) { }
static void blk_finish_plug(struct blk_plug *plug) { }

/* ---- requests --------------------------------------------------------------- */

struct vhd_device {
	unsigned long epoch;
	bool fast_lane;
	void *gate;
	unsigned int nr_queues;
	struct vhd_queue *queues;
	void *wq;
	void *write_wq;
	void *local_wq;
};

static void flush_workqueue(void *wq) { }

struct vhd_hold { int layer; };

/* Those members that queue_rq fills in, and what a submitter does. */
struct vhd_cmd {
	struct llist_node node;
	struct vhd_hold hold;
	void *bvecs;
	unsigned int lead;
	bool leading;
	bool starved;
	bool gated;
	unsigned int run_left;
	unsigned int done;
	unsigned long epoch;
	u64 asked;
	u64 answer;
	bool ended;
};

struct request { struct vhd_cmd cmd; };
struct blk_mq_hw_ctx { void *driver_data; };
struct blk_mq_queue_data { struct request *rq; bool last; };

static struct vhd_cmd *blk_mq_rq_to_pdu(struct request *rq) { return &rq->cmd; }
static void blk_mq_start_request(struct request *rq) { }

enum { REQ_OP_READ, REQ_OP_WRITE };

#ifndef unlikely
#define unlikely(x) (x)
#endif
static int req_op(struct request *rq) { return REQ_OP_WRITE; }
static bool vhd_may_write(struct vhd_device *vhd) { return true; }
static bool vhd_cmd_late(struct vhd_device *vhd, struct request *rq) { return false; }
static bool vhd_lane_submit(struct vhd_device *vhd, struct vhd_cmd *cmd);

struct vhd_linger;
bool vhd_linger(struct vhd_linger *l, const struct llist_head *list);
void vhd_linger_slept(struct vhd_linger *l);
static void vhd_handle(struct vhd_device *vhd, struct vhd_cmd *cmd);

#include "queue.inc"

#define SUBMITTERS	3
#define DEPTH		8

static struct vhd_queue queue;
static struct vhd_device device = {
	.fast_lane = true, .nr_queues = 1, .queues = &queue, .local_wq = &device,
};
static struct blk_mq_hw_ctx hctx = { .driver_data = &queue };
static struct task_struct worker = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.woken = PTHREAD_COND_INITIALIZER,
};
static struct task_struct local;
static u64 until, seed, handled, taken, locally;
static int submitting;

/* The one's alone who has taken it from the list until it ends. */
static void vhd_handle(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	if (cmd->done || cmd->run_left || cmd->starved || cmd->gated)
		die(1, "a request is not as it was filled in");
	cmd->done = 1;
	cmd->run_left = 1;
	cmd->starved = cmd->gated = true;
	cmd->answer = cmd->asked + 1;
	__atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&locally, current == &local, __ATOMIC_RELAXED);
	if (READ_ONCE(queue.latest) == cmd)
		WRITE_ONCE(queue.latest, NULL);
	__atomic_store_n(&cmd->ended, true, __ATOMIC_RELEASE);
}

/* A third of them has its place on the disk, and ends here. */
static bool vhd_lane_submit(struct vhd_device *vhd, struct vhd_cmd *cmd)
{
	if (chance(3))
		return false;
	cmd->answer = cmd->asked + 1;
	__atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&cmd->ended, true, __ATOMIC_RELEASE);
	return true;
}

/*
 * The worker sleeps, there are requests, and nobody is about to wake it.  Who has
 * added one that is seen here counts as submitting until he has looked whether he
 * must, and to wake it he needs the lock.  Nor has the work on his own processor
 * anything to do.
 */
static void look_for_lost(void)
{
	pthread_mutex_lock(&worker.lock);
	pthread_mutex_lock(&queue.local.lock);
	if (worker.asleep && READ_ONCE(worker.state) == TASK_IDLE &&
	    work_idle(&queue.local) && !llist_empty(&queue.list) &&
	    !__atomic_load_n(&submitting, __ATOMIC_SEQ_CST))
		die(3, "nobody was woken for a request");
	pthread_mutex_unlock(&queue.local.lock);
	pthread_mutex_unlock(&worker.lock);
}

static void wait_for(struct vhd_cmd *cmd)
{
	unsigned int n = 0;

	while (!__atomic_load_n(&cmd->ended, __ATOMIC_ACQUIRE)) {
		if (!(++n % 1000))
			look_for_lost();
		sched_yield();
	}
	if (cmd->answer != cmd->asked + 1)
		die(1, "a request has another's answer");
}

/* One to DEPTH of them; the last one says so, or nobody does and commit_rqs follows. */
static void submit(struct request *rqs, unsigned int n, bool last)
{
	struct blk_mq_queue_data bd;
	unsigned int i;

	__atomic_fetch_add(&submitting, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < n; i++) {
		rqs[i].cmd.asked = chance(1 << 30);
		rqs[i].cmd.ended = false;
		bd.rq = &rqs[i];
		bd.last = last && i == n - 1;
		vhd_queue_rq(&hctx, &bd);
	}
	if (!last)
		vhd_commit_rqs(&hctx);
	__atomic_fetch_sub(&submitting, 1, __ATOMIC_SEQ_CST);
}

static void *submitter(void *arg)
{
	static struct request all[SUBMITTERS][DEPTH];
	struct request *rqs = all[(long)arg];
	unsigned int n, i, singly = 0;

	random_state = seed + (long)arg + 1;
	while (local_clock() < until) {
		/* Now and then one after the other for a while. */
		if (singly)
			singly--;
		else if (!chance(50))
			singly = 50;
		n = singly ? 1 : 1 + chance(chance(2) ? 1 : DEPTH);
		submit(rqs, n, singly || chance(4));
		for (i = 0; i < n; i++)
			wait_for(&rqs[i].cmd);
		if (!chance(20))
			usleep(chance(300));
	}
	return NULL;
}

/* As sysfs does, and a change of the device's layers. */
static void *reader(void *arg)
{
	while (local_clock() < until) {
		if (READ_ONCE(queue.linger.hits) + READ_ONCE(queue.linger.sleeps) == ~0UL)
			die(1, "that many?");
		vhd_queues_settle(&device);
	}
	return NULL;
}

static void *work(void *arg)
{
	current = arg;
	random_state = seed + 100;
	vhd_queue_thread(&queue);
	return NULL;
}

static void *work_locally(void *arg)
{
	current = arg;
	random_state = seed + 200;
	do_work(&queue.local, vhd_local_work);
	return NULL;
}

static void submit_for(u64 ns, long submitters)
{
	pthread_t threads[SUBMITTERS + 1];
	long i;

	until = local_clock() + ns;
	for (i = 0; i < submitters; i++)
		pthread_create(&threads[i], NULL, submitter, (void *)i);
	pthread_create(&threads[i], NULL, reader, NULL);
	for (i = 0; i <= submitters; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	long i;

	if (argc != 3)
		die(2, "usage: queue SECONDS SEED");
	seed = strtoull(argv[2], NULL, 0);
	queue.vhd = &device;
	queue.task = &worker;
	pthread_mutex_init(&queue.local.lock, NULL);
	pthread_cond_init(&queue.local.changed, NULL);
	pthread_create(&worker.id, NULL, work, &worker);
	pthread_create(&local.id, NULL, work_locally, &local);
	/* Of several one wakes the worker for what another has left there. */
	for (i = 1; i <= SUBMITTERS; i++)
		submit_for(strtoull(argv[1], NULL, 0) * NSEC_PER_SEC / SUBMITTERS, i);
	__atomic_store_n(&worker.stop, true, __ATOMIC_SEQ_CST);
	wake_up_process(&worker);
	pthread_join(worker.id, NULL);
	pthread_mutex_lock(&queue.local.lock);
	queue.local.stop = true;
	pthread_cond_broadcast(&queue.local.changed);
	pthread_mutex_unlock(&queue.local.lock);
	pthread_join(local.id, NULL);
	printf("%llu requests, %llu on the lane, %llu locally, %lu sleeps, %lu of lingering found some\n",
	       (unsigned long long)(handled + taken), (unsigned long long)taken,
	       (unsigned long long)locally, queue.linger.sleeps, queue.linger.hits);
	return !queue.linger.sleeps || !taken || !locally;
}
