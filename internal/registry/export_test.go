package registry

import "net/netip"

// LocateWith lets tests put host names on loopback addresses.
func LocateWith(o Options, locate func(addr string) string) Options {
	o.locate = locate
	return o
}

var (
	ParseRange = parseRange
	NextLink   = nextLink
	ReachOf    = func(a netip.Addr) string { return reachOf(a, nil).String() }
	SameSite   = sameSite
	Scrub      = scrub
)
