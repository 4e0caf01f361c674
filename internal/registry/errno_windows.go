package registry

import "golang.org/x/sys/windows"

// Windows has error numbers of its own for sockets.

func brokenConnection() []error {
	return []error{windows.WSAECONNRESET, windows.WSAECONNABORTED}
}

func refusedConnection() []error {
	return []error{windows.WSAECONNREFUSED}
}

func noWay() []error {
	return []error{windows.WSAEHOSTUNREACH, windows.WSAENETUNREACH}
}
