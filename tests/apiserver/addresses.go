package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The addresses of the cluster, none of which is anybody's outside of it:
//
//	10.96.0.0/16, fd00:10:96::/112     services (the API server's flag)
//	10.10N.0.0/16, fd00:10:10N::/112   pods of node N
//	172.31.0.0/16                      nodes
//	198.18.0.0/16                      load balancers, chosen for them
//	198.19.0.0/16                      load balancers, asked for by them
var (
	nodeRange          = netip.MustParsePrefix("172.31.0.0/16")
	balancerRange      = netip.MustParsePrefix("198.18.0.0/16")
	askedBalancerRange = netip.MustParsePrefix("198.19.0.0/16")
)

func podRanges(node int) []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", 100+node)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:10:%d::/112", 100+node)),
	}
}

func nodeAddress(node int) netip.Addr { return hostIn(nodeRange, uint16(1+node)) }

// hosts gives away the numbers of hosts in a range of 16 bits, each to one owner
// at a time. It goes round the range, so that an address that was given back is
// nobody's for long: who still holds it finds nobody there.
type hosts struct {
	last   uint16
	owners map[uint16]string
}

func newHosts() *hosts { return &hosts{owners: map[uint16]string{}} }

// take gives an owner a number from 1 on; false when there are none left.
func (h *hosts) take(owner string) (uint16, bool) {
	const count = 1<<16 - 2
	for range count {
		h.last = h.last%count + 1
		if _, taken := h.owners[h.last]; !taken {
			h.owners[h.last] = owner
			return h.last, true
		}
	}
	return 0, false
}

// claim gives an owner this number; false when it is somebody else's.
func (h *hosts) claim(host uint16, owner string) bool {
	if present, taken := h.owners[host]; taken && present != owner {
		return false
	}
	h.owners[host] = owner
	return true
}

func (h *hosts) giveBack(host uint16) { delete(h.owners, host) }

// hostIn returns the address of a host in a range.
func hostIn(prefix netip.Prefix, host uint16) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	binary.BigEndian.PutUint16(bytes[len(bytes)-2:], host)
	address, _ := netip.AddrFromSlice(bytes)
	return address
}

// hostOf returns which host of a range an address is, false for one outside it.
func hostOf(prefix netip.Prefix, text string) (uint16, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil || !prefix.Contains(address) {
		return 0, false
	}
	bytes := address.AsSlice()
	return binary.BigEndian.Uint16(bytes[len(bytes)-2:]), true
}
