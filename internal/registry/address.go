package registry

import (
	"fmt"
	"net/netip"
	"strings"
)

// reach says how far inside a network an address lies. A registry may send
// ferry on only to addresses that lie no further inside than its own.
type reach int32

const (
	unknown  reach = iota - 1 // nothing was dialled yet; counts as public
	public                    // the internet
	private                   // a site's own network
	loopback                  // this machine
	neighbor                  // link-local: this machine's wire, a cloud's metadata service
)

func (r reach) String() string {
	return [...]string{"not known", "public", "private", "loopback", "link-local or metadata"}[r+1]
}

// reachOf classes addr. A caller's own notion of what is private replaces the
// built-in one.
func reachOf(addr netip.Addr, isPrivate func(netip.Addr) bool) reach {
	addr = innermost(addr)
	if isPrivate != nil {
		if isPrivate(addr) {
			return private
		}
		return public
	}
	switch {
	case addr.IsLinkLocalUnicast(), addr.IsMulticast(), within(addr, metadata):
		return neighbor
	case addr.IsLoopback(), addr.IsUnspecified(), within(addr, thisNetwork):
		return loopback
	case addr.IsPrivate(), within(addr, carrierGrade):
		return private
	}
	return public
}

const (
	thisNetwork  = "0.0.0.0/8"
	carrierGrade = "100.64.0.0/10"
	// metadata services of Alibaba Cloud, Azure, AWS and Google that are not
	// link-local.
	metadata = "100.100.100.200/32 168.63.129.16/32 fd00:ec2::254/128 fd20:ce::254/128"
)

func within(addr netip.Addr, prefixes string) bool {
	for p := range strings.FieldsSeq(prefixes) {
		if netip.MustParsePrefix(p).Contains(addr) {
			return true
		}
	}
	return false
}

// innermost finds the IPv4 address that an IPv6 one may carry: mapped
// (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
func innermost(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	switch {
	case within(addr, "64:ff9b::/96"):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case within(addr, "2002::/16"):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}

// literalReach classes a host name as far as the name itself tells: an IP
// address, or a name for this machine.
func literalReach(host string, isPrivate func(netip.Addr) bool) (reach, bool) {
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return reachOf(addr, isPrivate), true
	}
	if isLocalName(host) {
		return reachOf(netip.AddrFrom4([4]byte{127, 0, 0, 1}), isPrivate), true
	}
	return unknown, false
}

func isLocalName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// isLoopbackHost says whether host names this machine and nothing else.
func isLoopbackHost(host string) bool {
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return isLocalName(host)
}

// RefusedError says that a registry asked for something that ferry does not
// do, for the sake of whoever runs it.
type RefusedError struct {
	Registry string // the registry that asked
	Target   string // the host it pointed to
	Reason   string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused: %s points to %s: %s", e.Registry, e.Target, e.Reason)
}
