/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mark: tells the plugin (insns.c) to begin counting; mark with an argument: to
 * stop.  By a nop that nobody else has, in a program of a dozen instructions:
 * what it takes itself is counted, too.
 */
	.globl _start
_start:
	cmpl	$1, (%rsp)
	jne	1f
	.byte	0x0f, 0x1f, 0x80, 0x01, 'd', 'h', 'v'
	jmp	2f
1:	.byte	0x0f, 0x1f, 0x80, 0x02, 'd', 'h', 'v'
2:	movl	$60, %eax
	xorl	%edi, %edi
	syscall
	.section .note.GNU-stack, "", @progbits
