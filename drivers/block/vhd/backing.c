// SPDX-License-Identifier: GPL-2.0-only
/*
 * The backing file, or block device: who uses it, and transfers to and from it.
 *
 * All transfers of a device go the same way, by direct I/O or through the page
 * cache: two ways over one page would corrupt it.  Only opening reads through
 * the page cache always; it empties it before, and before direct I/O begins.
 */
#include <linux/blkdev.h>
#include <linux/bvec.h>
#include <linux/delay.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <linux/uio.h>

#include "vhd.h"

/*
 * An inode that devices use, and its mapping's allocation mask as it was
 * before it was narrowed.
 */
struct vhd_claim {
	struct list_head list;
	struct inode *inode;
	gfp_t gfp;
	/* How many use it, and for what. */
	unsigned int users[VHD_USE_WRITE + 1];
};

static LIST_HEAD(vhd_claims);
static DEFINE_MUTEX(vhd_claims_mutex);

static bool vhd_claim_allows(const struct vhd_claim *c, enum vhd_use use)
{
	if (c->users[VHD_USE_WRITE])
		return false;
	switch (use) {
	case VHD_USE_PARENT:
		return true;
	case VHD_USE_READ:
		return !c->users[VHD_USE_READ];
	case VHD_USE_MERGE:
		return !c->users[VHD_USE_READ] &&
		       c->users[VHD_USE_PARENT] == 1;
	default:
		return !c->users[VHD_USE_READ] && !c->users[VHD_USE_PARENT];
	}
}

static struct vhd_claim *vhd_claim_find(const struct inode *inode)
{
	struct vhd_claim *c;

	lockdep_assert_held(&vhd_claims_mutex);
	list_for_each_entry(c, &vhd_claims, list)
		if (c->inode == inode)
			return c;
	return NULL;
}

/* The device may be needed to free memory: no allocation may wait for it. */
static void vhd_claim_add(struct vhd_claim *claim,
			  struct address_space *mapping)
{
	claim->inode = mapping->host;
	claim->gfp = mapping_gfp_mask(mapping);
	mapping_set_gfp_mask(mapping, claim->gfp & ~(__GFP_IO | __GFP_FS));
	list_add(&claim->list, &vhd_claims);
}

static struct vhd_claim *vhd_claim_inode(struct file *file, enum vhd_use use)
{
	struct address_space *mapping = file->f_mapping;
	struct vhd_claim *claim, *new;

	new = kzalloc(sizeof(*new), GFP_KERNEL);
	if (!new)
		return ERR_PTR(-ENOMEM);
	mutex_lock(&vhd_claims_mutex);
	claim = vhd_claim_find(mapping->host);
	if (!claim) {
		vhd_claim_add(new, mapping);
		swap(claim, new);
	}
	if (vhd_claim_allows(claim, use))
		claim->users[min(use, VHD_USE_WRITE)]++;
	else
		claim = ERR_PTR(-EBUSY);
	mutex_unlock(&vhd_claims_mutex);
	kfree(new);
	return claim;
}

static void vhd_unclaim_inode(struct vhd_claim *claim, enum vhd_use use)
{
	unsigned int i, users = 0;

	mutex_lock(&vhd_claims_mutex);
	claim->users[use]--;
	for (i = 0; i <= VHD_USE_WRITE; i++)
		users += claim->users[i];
	if (!users) {
		mapping_set_gfp_mask(claim->inode->i_mapping, claim->gfp);
		list_del(&claim->list);
	}
	mutex_unlock(&vhd_claims_mutex);
	if (!users)
		kfree(claim);
}

static int vhd_backing_check(struct file *file, bool write)
{
	umode_t mode = file_inode(file)->i_mode;

	if (!(S_ISREG(mode) || S_ISBLK(mode)) || file->f_mode & FMODE_PATH)
		return -EINVAL;
	if (!(file->f_mode & FMODE_READ) ||
	    (write && !(file->f_mode & FMODE_WRITE)))
		return -EACCES;
	if (!file->f_op->read_iter || (write && !file->f_op->write_iter) ||
	    file->f_flags & O_APPEND || IS_SWAPFILE(file->f_mapping->host))
		return -EINVAL;
	return 0;
}

loff_t vhd_backing_size(const struct vhd_backing *b)
{
	/* The inode of a device's node knows nothing of the device. */
	return i_size_read(b->file->f_mapping->host);
}

struct block_device *vhd_backing_disk(const struct vhd_backing *b)
{
	return b->bdev ?: file_inode(b->file)->i_sb->s_bdev;
}

unsigned int vhd_backing_grain(const struct vhd_backing *b)
{
	if (!b->bdev)
		return i_blocksize(file_inode(b->file));
	return max(bdev_discard_granularity(b->bdev),
		   bdev_logical_block_size(b->bdev));
}

/* Can requests, which come in units of 512 bytes, go by direct I/O? */
static void vhd_backing_find_dio(struct vhd_backing *b)
{
	unsigned int mem = VHD_SECTOR_SIZE, offset = VHD_SECTOR_SIZE;
	struct block_device *bdev = vhd_backing_disk(b);
	struct kstat stat;

	b->dio_mem_mask = VHD_SECTOR_SIZE - 1;
	if (!(b->file->f_mode & FMODE_CAN_ODIRECT))
		return;
	if (b->bdev) {
		mem = bdev_dma_alignment(bdev) + 1;
		offset = bdev_logical_block_size(bdev);
	} else if (!vfs_getattr(&b->file->f_path, &stat, STATX_DIOALIGN, 0) &&
	    stat.result_mask & STATX_DIOALIGN) {
		mem = stat.dio_mem_align;
		offset = stat.dio_offset_align;
	} else if (bdev) {
		offset = bdev_logical_block_size(bdev);
	}
	if (!mem || !offset || offset > VHD_SECTOR_SIZE || mem > PAGE_SIZE)
		return;
	b->dio_possible = true;
	b->dio_mem_mask = max(mem, VHD_SECTOR_SIZE) - 1;
}

void vhd_backing_close(struct vhd_backing *b)
{
	vhd_lane_destroy(b);
	if (b->hold)
		vhd_bdev_release(b->hold);
	vhd_unclaim_inode(b->claim, b->use);
	fput(b->file);
}

bool vhd_backing_same(const struct vhd_backing *b, struct file *file)
{
	return !vhd_backing_check(file, false) &&
	       file->f_mapping->host == b->file->f_mapping->host;
}

void vhd_backing_demote(struct vhd_backing *b)
{
	vhd_lane_destroy(b);
	mutex_lock(&vhd_claims_mutex);
	b->claim->users[b->use]--;
	b->use = VHD_USE_PARENT;
	b->claim->users[b->use]++;
	mutex_unlock(&vhd_claims_mutex);
}

/*
 * What is in the page cache then does no harm: direct I/O writes overlapping
 * pages out first.  Only both at the same time over one page would.
 */
bool vhd_backing_try_set_dio(struct vhd_backing *b, bool dio)
{
	if (!down_write_trylock(&b->mode))
		return false;
	b->dio = dio;
	up_write(&b->mode);
	return true;
}

void vhd_backing_drop_cache(struct vhd_backing *b)
{
	if (b->dio)
		invalidate_inode_pages2(b->file->f_mapping);
}

bool vhd_backing_checksums(struct vhd_backing *b)
{
	struct super_block *sb = file_inode(b->file)->i_sb;

	if (b->bdev)
		return bdev_stable_writes(b->bdev);
	return sb->s_magic == BTRFS_SUPER_MAGIC ||
	       sb->s_iflags & SB_I_STABLE_WRITES;
}

bool vhd_backing_start_write(struct vhd_backing *b, bool wait)
{
	struct super_block *sb = file_inode(b->file)->i_sb;

	/* That would be the file system that the node lies on. */
	if (b->bdev)
		return true;
	if (!sb_start_write_trylock(sb)) {
		if (!wait)
			return false;
		sb_start_write(sb);
	}
	/* It ends elsewhere, with kiocb_end_write(): tell lockdep. */
	__sb_writers_release(sb, SB_FREEZE_WRITE);
	return true;
}

void vhd_backing_end_write(struct kiocb *iocb)
{
	if (S_ISREG(file_inode(iocb->ki_filp)->i_mode))
		kiocb_end_write(iocb);
}

void vhd_backing_end_write_to(struct vhd_backing *b)
{
	struct kiocb iocb = { .ki_filp = b->file };

	vhd_backing_end_write(&iocb);
}

static ssize_t vhd_backing_write_iter(struct vhd_backing *b,
				      struct kiocb *iocb, struct iov_iter *iter)
{
	struct vhd_lane_own own;
	ssize_t ret;

	if (likely(!READ_ONCE(b->lane)))
		return b->file->f_op->write_iter(iocb, iter);
	/* Behind the end: the page at the end is written, too. */
	vhd_lane_own_begin(b, &own, vhd_backing_size(b), iocb->ki_pos);
	ret = b->file->f_op->write_iter(iocb, iter);
	vhd_lane_own_end(&own);
	return ret;
}

void vhd_backing_submit(struct vhd_backing *b, struct kiocb *iocb,
			struct iov_iter *iter, bool write)
{
	void (*complete)(struct kiocb *iocb, long ret) = iocb->ki_complete;
	ssize_t ret;

	iocb->ki_filp = b->file;
	iocb->ki_flags = b->dio ? IOCB_DIRECT : 0;
	if (!b->dio)
		iocb->ki_complete = NULL;
	if (write)
		ret = vhd_backing_write_iter(b, iocb, iter);
	else
		ret = b->file->f_op->read_iter(iocb, iter);
	if (ret != -EIOCBQUEUED)
		complete(iocb, ret);
}

/* ---- synchronous transfers ------------------------------------------- */

/*
 * The file system's freeze protection is given back here, in any context: who
 * begins another write may have to wait for a freeze, which waits for this.
 */
static void vhd_sync_complete(struct kiocb *iocb, long ret)
{
	struct vhd_sync_io *io = container_of(iocb, struct vhd_sync_io, iocb);

	if (io->write)
		vhd_backing_end_write(iocb);
	io->ret = ret;
	complete(&io->done);
}

/* @iter's memory is to stay until it has been waited for. */
static void vhd_sync_begin(struct vhd_backing *b, struct vhd_sync_io *io,
			   loff_t pos, struct iov_iter *iter, bool write)
{
	*io = (struct vhd_sync_io) {
		.iocb.ki_pos		= pos,
		.iocb.ki_complete	= vhd_sync_complete,
		.write			= write,
	};
	init_completion(&io->done);
	if (write)
		vhd_backing_start_write(b, true);
	vhd_backing_submit(b, &io->iocb, iter, write);
}

/* One transfer; returns bytes or a negative errno. */
static ssize_t vhd_backing_transfer(struct vhd_backing *b, loff_t pos,
				    struct iov_iter *iter, bool write)
{
	struct vhd_sync_io io;

	vhd_sync_begin(b, &io, pos, iter, write);
	wait_for_completion_io(&io.done);
	return io.ret;
}

void *vhd_backing_buf_alloc(size_t len, gfp_t gfp)
{
	return alloc_pages_exact(len, gfp);
}

void vhd_backing_buf_free(void *buf, size_t len)
{
	if (buf)
		free_pages_exact(buf, len);
}

/* The same of memory from vhd_backing_buf_alloc(). */
static ssize_t vhd_backing_rw(struct vhd_backing *b, loff_t pos, void *buf,
			      size_t len, bool write)
{
	struct bio_vec bvec;
	struct iov_iter iter;

	bvec_set_page(&bvec, virt_to_page(buf), len, offset_in_page(buf));
	iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST, &bvec, 1, len);
	return vhd_backing_transfer(b, pos, &iter, write);
}

/*
 * A stacked file system may promise direct I/O that the file system below it
 * does not do: try.
 */
static void vhd_backing_probe_dio(struct vhd_backing *b)
{
	void *buf = vhd_backing_buf_alloc(PAGE_SIZE, GFP_KERNEL);

	b->dio = true;
	if (!buf || vhd_backing_rw(b, 0, buf, VHD_SECTOR_SIZE, false) < 0)
		b->dio_possible = false;
	b->dio = false;
	vhd_backing_buf_free(buf, PAGE_SIZE);
}

static int vhd_backing_fallocate(struct vhd_backing *b, int mode, loff_t pos,
				 loff_t len)
{
	/* To reserve space is the only thing that moves none. */
	loff_t end = mode == FALLOC_FL_KEEP_SIZE ? pos : pos + len;
	struct vhd_lane_own own;
	int ret;

	vhd_lane_own_begin(b, &own, pos, end);
	/* It takes the freeze protection itself. */
	ret = vfs_fallocate(b->file, mode, pos, len);
	vhd_lane_own_end(&own);
	return ret;
}

static int vhd_backing_truncate(struct vhd_backing *b, loff_t size)
{
	struct vhd_lane_own own;
	int ret;

	/* When it grows, the page at the former end is written. */
	vhd_lane_own_begin(b, &own, min(size, vhd_backing_size(b)), S64_MAX);
	ret = vfs_truncate(&b->file->f_path, size);
	vhd_lane_own_end(&own);
	return ret;
}

/* Pages of zeros written at a time. */
#define VHD_ZERO_PAGES	16U

static int vhd_backing_write_zeros(struct vhd_backing *b, loff_t pos, u64 len)
{
	struct bio_vec bvecs[VHD_ZERO_PAGES];
	struct iov_iter iter;
	ssize_t ret;
	size_t n;
	u32 i;

	for (i = 0; i < VHD_ZERO_PAGES; i++)
		bvec_set_page(&bvecs[i], ZERO_PAGE(0), PAGE_SIZE, 0);
	while (len) {
		n = min_t(u64, len, VHD_ZERO_PAGES * PAGE_SIZE);
		iov_iter_bvec(&iter, ITER_SOURCE, bvecs, VHD_ZERO_PAGES, n);
		ret = vhd_backing_transfer(b, pos, &iter, true);
		if (ret <= 0)
			return ret ?: -EIO;
		pos += ret;
		len -= ret;
	}
	return 0;
}

/* ---- block devices ------------------------------------------------------ */

/* What others may have read into the page cache is not so any more. */
static int vhd_bdev_forget(struct vhd_backing *b, loff_t pos, u64 len)
{
	struct address_space *mapping = b->file->f_mapping;
	int ret = filemap_write_and_wait_range(mapping, pos, pos + len - 1);

	return ret ?: invalidate_inode_pages2_range(mapping, pos >> PAGE_SHIFT,
						    (pos + len - 1) >> PAGE_SHIFT);
}

/* The device does it, or the block layer writes zeros in its place. */
static int vhd_bdev_issue_zeroes(struct vhd_backing *b, loff_t pos, u64 len,
				 bool keep)
{
	int ret = vhd_bdev_forget(b, pos, len);

	if (ret)
		return ret;
	ret = blkdev_issue_zeroout(b->bdev, pos >> SECTOR_SHIFT,
				   len >> SECTOR_SHIFT, GFP_NOIO,
				   keep ? BLKDEV_ZERO_NOUNMAP : 0);
	return ret ?: vhd_bdev_forget(b, pos, len);
}

/*
 * Through the page cache only whole pages are left to the device: in one that
 * is cut, a neighbour's data may be on their way.
 */
static int vhd_bdev_zero(struct vhd_backing *b, loff_t pos, u64 len, bool keep)
{
	unsigned int grain = bdev_logical_block_size(b->bdev);
	loff_t start, end;
	int ret;

	if (!b->dio)
		grain = max_t(unsigned int, grain, PAGE_SIZE);
	start = round_up(pos, grain);
	end = round_down(pos + len, grain);
	if (start >= end)
		return vhd_backing_write_zeros(b, pos, len);
	ret = vhd_backing_write_zeros(b, pos, start - pos);
	if (!ret)
		ret = vhd_backing_write_zeros(b, end, pos + len - end);
	if (!ret)
		ret = vhd_bdev_issue_zeroes(b, start, end - start, keep);
	/* Pages that could not be had out of the way. */
	if (ret == -EBUSY)
		ret = vhd_backing_write_zeros(b, start, end - start);
	return ret;
}

/* Whole units of the device; it does not matter if that fails. */
static int vhd_bdev_discard(struct vhd_backing *b, loff_t pos, u64 len)
{
	loff_t start = round_up(pos, PAGE_SIZE);
	loff_t end = round_down(pos + len, PAGE_SIZE);
	int ret;

	if (start >= end)
		return 0;
	ret = vhd_bdev_forget(b, start, end - start);
	return ret ?: blkdev_issue_discard(b->bdev, start >> SECTOR_SHIFT,
					   (end - start) >> SECTOR_SHIFT,
					   GFP_NOIO);
}

/* Our claim of the device, beside that of the inode: against all others. */
static int vhd_bdev_open(struct vhd_backing *b, bool write)
{
	struct block_device *bdev = I_BDEV(b->file->f_mapping->host);

	b->hold = vhd_bdev_claim(bdev, &vhd_claims);
	if (IS_ERR(b->hold)) {
		int ret = PTR_ERR(b->hold);

		b->hold = NULL;
		return ret;
	}
	b->bdev = bdev;
	b->punches = write && bdev_max_discard_sectors(bdev);
	b->zeroes = write && bdev_write_zeroes_sectors(bdev);
	return 0;
}

/* ---- the same of either --------------------------------------------------- */

/* Where the file system does not know how, zeros are written. */
int vhd_backing_zero(struct vhd_backing *b, loff_t pos, u64 len, bool keep)
{
	int mode = FALLOC_FL_KEEP_SIZE;
	int ret = -EOPNOTSUPP;

	if (b->bdev)
		return vhd_bdev_zero(b, pos, len, keep);

	mode |= keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
	if (keep || b->punches)
		ret = vhd_backing_fallocate(b, mode, pos, len);
	return ret == -EOPNOTSUPP ? vhd_backing_write_zeros(b, pos, len) : ret;
}

/*
 * Behind the end of the file there is nothing to punch, but a file system that
 * cannot says so.
 */
static bool vhd_backing_probe_punch(struct vhd_backing *b)
{
	loff_t pos = round_up(vhd_backing_size(b), SZ_1M);
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return !vhd_backing_fallocate(b, mode, pos, PAGE_SIZE);
}

int vhd_backing_open(struct vhd_backing *b, struct file *file,
		     enum vhd_use use, int dio)
{
	bool write = use >= VHD_USE_WRITE;
	int ret = vhd_backing_check(file, write);

	if (ret)
		return ret;
	b->use = min(use, VHD_USE_WRITE);
	b->claim = vhd_claim_inode(file, use);
	if (IS_ERR(b->claim))
		return PTR_ERR(b->claim);
	b->file = get_file(file);
	init_rwsem(&b->mode);
	mutex_init(&b->flush_lock);
	if (S_ISBLK(file_inode(file)->i_mode)) {
		ret = vhd_bdev_open(b, write);
		if (ret) {
			vhd_backing_close(b);
			return ret;
		}
	}
	vhd_backing_find_dio(b);
	if (b->dio_possible)
		vhd_backing_probe_dio(b);
	if (dio > 0 && !b->dio_possible) {
		vhd_backing_close(b);
		return -EOPNOTSUPP;
	}
	b->dio = dio && b->dio_possible;
	if (!b->bdev) {
		b->punches = write && vhd_backing_probe_punch(b);
		b->zeroes = b->punches;
	}
	return 0;
}

int vhd_backing_read(struct vhd_backing *b, loff_t pos, void *buf, size_t len)
{
	ssize_t ret;

	while (len) {
		ret = vhd_backing_rw(b, pos, buf, len, false);
		if (ret < 0)
			return ret;
		if (!ret) {
			memset(buf, 0, len);
			return 0;
		}
		pos += ret;
		buf += ret;
		len -= ret;
	}
	return 0;
}

int vhd_backing_write(struct vhd_backing *b, loff_t pos, void *buf, size_t len)
{
	ssize_t ret;

	while (len) {
		ret = vhd_backing_rw(b, pos, buf, len, true);
		if (ret < 0)
			return ret;
		if (!ret)
			return -EIO;
		pos += ret;
		buf += ret;
		len -= ret;
	}
	return 0;
}

/* A file that may not grow further is a full disk to the core. */
static int vhd_backing_space_error(int err)
{
	return err == -EFBIG || err == -EDQUOT ? -ENOSPC : err;
}

/*
 * The first data of a range, in whole sectors.  A file system that does not know
 * leaves all of it.
 */
static void vhd_backing_seek(struct vhd_backing *b, struct vhd_span *span)
{
	loff_t pos, end;

	pos = vfs_llseek(b->file, span->pos, SEEK_DATA);
	if (pos == -ENXIO || (pos > 0 && pos >= span->end)) {
		span->pos = span->end;
		return;
	}
	if (pos < 0)
		return;
	end = vfs_llseek(b->file, pos, SEEK_HOLE);
	span->pos = max_t(u64, span->pos, round_down(pos, VHD_SECTOR_SIZE));
	if (end > pos)
		span->end = min_t(u64, span->end,
				  round_up(end, VHD_SECTOR_SIZE));
}

/* What may go before a block's first data: zeros, and its bitmap of ones. */
struct page *vhd_lead_page;

int vhd_lead_page_create(void)
{
	vhd_lead_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!vhd_lead_page)
		return -ENOMEM;
	memset(page_address(vhd_lead_page) + VHD_ALIGN - VHD_SECTOR_SIZE, 0xFF,
	       VHD_SECTOR_SIZE);
	return 0;
}

void vhd_lead_page_free(void)
{
	__free_page(vhd_lead_page);
}

/*
 * What a sector with a pad is written from, VHD_ALIGN bytes; NULL: the sector alone.
 * For two pieces of memory that make up a block ext4 does what it does for a part of
 * one: it waits for all that is under way in the file, and lets nothing else begin.
 */
static struct page *vhd_padded_page(const struct vhd_io *io)
{
	if (io->pad + io->len != VHD_ALIGN || io->len != VHD_SECTOR_SIZE)
		return NULL;
	if (!memchr_inv(io->buf, 0xFF, VHD_SECTOR_SIZE))
		return vhd_lead_page;
	return memchr_inv(io->buf, 0, VHD_SECTOR_SIZE) ? NULL : ZERO_PAGE(0);
}

static int vhd_backing_step(struct vhd_backing *b, struct vhd_io *io,
			    void *bounce)
{
	struct page *page;

	switch (io->kind) {
	case VHD_IO_READ:
		return vhd_backing_read(b, io->pos, io->buf, io->len);
	case VHD_IO_WRITE:
		page = vhd_padded_page(io);
		if (page)
			return vhd_backing_write(b, io->pos - io->pad,
						 page_address(page), VHD_ALIGN);
		/* Where there is none the plan's own will do. */
		if (!bounce)
			return vhd_backing_write(b, io->pos, io->buf, io->len);
		if (WARN_ON_ONCE(io->len > VHD_BOUNCE_SIZE))
			return -EINVAL;
		memcpy(bounce, io->buf, io->len);
		return vhd_backing_write(b, io->pos, bounce, io->len);
	case VHD_IO_ZERO:
		return vhd_backing_zero(b, io->pos, io->len, false);
	case VHD_IO_DISCARD:
		return vhd_bdev_discard(b, io->pos, io->len);
	case VHD_IO_RESERVE:
		return vhd_backing_fallocate(b, FALLOC_FL_KEEP_SIZE, io->pos,
					     io->len);
	case VHD_IO_TRUNCATE:
		return vhd_backing_truncate(b, io->pos);
	case VHD_IO_FLUSH:
		vhd_lane_touch(b);
		return vfs_fsync(b->file, 1);
	case VHD_IO_SEEK:
		vhd_backing_seek(b, io->buf);
		return 0;
	default:
		WARN_ON_ONCE(1);
		return -EINVAL;
	}
}

/*
 * All steps but a flush may be done twice: want of memory fails none of them. A
 * flush that failed for whatever reason may have lost what it was to write.
 */
static int vhd_backing_persist(struct vhd_backing *b, struct vhd_io *io,
			       void *bounce)
{
	int ret;

	for (;;) {
		ret = vhd_backing_step(b, io, bounce);
		if (ret != -ENOMEM || io->kind == VHD_IO_FLUSH)
			return vhd_backing_space_error(ret);
		msleep(VHD_STARVED_MS);
	}
}

/* ---- writes side by side -------------------------------------------------- */

static void vhd_post_submit(struct vhd_backing *b, struct vhd_post *post,
			    const struct vhd_io *io)
{
	struct page *page = vhd_padded_page(io);
	u32 pad = page ? io->pad : 0;
	struct iov_iter iter;

	memcpy(post->buf, io->buf, io->len);
	post->pos = io->pos;
	post->len = io->len;
	post->busy = true;
	if (page)
		bvec_set_page(&post->bvec, page, VHD_ALIGN, 0);
	else
		bvec_set_page(&post->bvec, virt_to_page(post->buf), io->len,
			      offset_in_page(post->buf));
	iov_iter_bvec(&iter, ITER_SOURCE, &post->bvec, 1, post->bvec.bv_len);
	vhd_sync_begin(b, &post->io, io->pos - pad, &iter, true);
}

/* One that was cut short, or had no memory, is done again, alone and without pad. */
static int vhd_post_wait(struct vhd_backing *b, struct vhd_post *post)
{
	struct vhd_io again = {
		.kind = VHD_IO_WRITE, .pos = post->pos, .len = post->len,
		.buf = post->buf,
	};

	if (!post->busy)
		return 0;
	wait_for_completion_io(&post->io.done);
	post->busy = false;
	if (post->io.ret == post->bvec.bv_len)
		return 0;
	if (post->io.ret < 0 && post->io.ret != -ENOMEM)
		return vhd_backing_space_error(post->io.ret);
	return vhd_backing_persist(b, &again, NULL);
}

/* Return: the first error, when none of them is under way any more. */
static int vhd_posts_wait(struct vhd_backing *b, struct vhd_posts *posts)
{
	int ret, err = 0;
	unsigned int i;

	for (i = 0; i < posts->nr; i++) {
		ret = vhd_post_wait(b, &posts->post[i]);
		if (!err)
			err = ret;
	}
	return err;
}

/* Begin a write.  Return: the error of an earlier one; then all have ended. */
static int vhd_posts_add(struct vhd_backing *b, struct vhd_posts *posts,
			 const struct vhd_io *io)
{
	struct vhd_post *post = &posts->post[posts->next++ % posts->nr];
	int err = vhd_post_wait(b, post);

	if (!err && WARN_ON_ONCE(io->len > VHD_SECTOR_SIZE))
		err = -EINVAL;
	if (err)
		vhd_posts_wait(b, posts);
	else
		vhd_post_submit(b, post, io);
	return err;
}

/* Each write's is a sector, aligned as direct I/O wants it. */
#define VHD_POSTS_SIZE	(VHD_NR_POSTS * VHD_SECTOR_SIZE)

int vhd_posts_alloc(struct vhd_posts *posts)
{
	posts->buf = vhd_backing_buf_alloc(VHD_POSTS_SIZE, GFP_KERNEL);
	return posts->buf ? 0 : -ENOMEM;
}

void vhd_posts_free(struct vhd_posts *posts)
{
	vhd_backing_buf_free(posts->buf, VHD_POSTS_SIZE);
}

static void vhd_posts_begin(struct vhd_backing *b, struct vhd_posts *posts)
{
	unsigned int step = roundup(VHD_SECTOR_SIZE, b->dio_mem_mask + 1), i;

	posts->next = 0;
	posts->nr = min(VHD_NR_POSTS, VHD_POSTS_SIZE / step);
	for (i = 0; i < posts->nr; i++) {
		posts->post[i].buf = posts->buf + i * step;
		posts->post[i].busy = false;
	}
}

static int vhd_backing_run_step(struct vhd_backing *b, struct vhd_plan *plan,
				struct vhd_io *io, void *bounce,
				struct vhd_posts *posts)
{
	int err;

	if (!posts)
		return vhd_backing_persist(b, io, bounce);
	if (plan->side_by_side && io->kind == VHD_IO_WRITE)
		return vhd_posts_add(b, posts, io);
	err = vhd_posts_wait(b, posts);
	plan->unflushed = err && io->kind == VHD_IO_FLUSH;
	return err ?: vhd_backing_persist(b, io, bounce);
}

int vhd_backing_run(struct vhd_backing *b, struct vhd_plan *plan, void *bounce,
		    struct vhd_posts *posts)
{
	unsigned int noio = memalloc_noio_save();
	bool flushing = false;
	struct vhd_io io;
	int ret, err = 0;

	down_read(&b->mode);
	if (posts)
		vhd_posts_begin(b, posts);
	for (;;) {
		ret = vhd_plan_next(plan, err, &io);
		if (flushing)
			mutex_unlock(&b->flush_lock);
		if (ret <= 0)
			break;
		flushing = io.kind == VHD_IO_FLUSH;
		if (flushing)
			mutex_lock(&b->flush_lock);
		err = vhd_backing_run_step(b, plan, &io, bounce, posts);
	}
	/* A plan that gives up waits for none. */
	if (posts)
		vhd_posts_wait(b, posts);
	up_read(&b->mode);
	memalloc_noio_restore(noio);
	return ret;
}

static int vhd_backing_read_buffered(struct vhd_backing *b, struct vhd_io *io)
{
	void *buf = io->buf;
	loff_t pos = io->pos;
	size_t len = io->len;
	ssize_t ret;

	while (len) {
		ret = kernel_read(b->file, buf, len, &pos);
		if (ret < 0)
			return ret;
		if (!ret) {
			memset(buf, 0, len);
			return 0;
		}
		buf += ret;
		len -= ret;
	}
	return 0;
}

/*
 * A flush that failed leaves pages that pass for clean, and are not on the disk: a
 * table entry read from one would never be written again.
 */
static void vhd_backing_distrust_cache(struct vhd_backing *b)
{
	struct address_space *mapping = b->file->f_mapping;

	filemap_fdatawrite(mapping);
	filemap_fdatawait_keep_errors(mapping);
	invalidate_inode_pages2(mapping);
}

int vhd_backing_run_buffered(struct vhd_backing *b, struct vhd_plan *plan)
{
	struct vhd_io io;
	int ret, err = 0;

	vhd_backing_distrust_cache(b);
	while ((ret = vhd_plan_next(plan, err, &io)) > 0)
		err = io.kind == VHD_IO_READ ?
			      vhd_backing_read_buffered(b, &io) : -EINVAL;
	vhd_backing_drop_cache(b);
	return ret;
}
