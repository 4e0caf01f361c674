//go:build !windows

package registry

import "syscall"

func brokenConnection() []error {
	return []error{syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE}
}

func refusedConnection() []error {
	return []error{syscall.ECONNREFUSED}
}

func noWay() []error {
	return []error{syscall.EHOSTUNREACH, syscall.ENETUNREACH}
}
