package main

import (
	"crypto/sha256"
	"encoding/hex"
)

// reviewed is a text that somebody has read, because no licence is recognised
// in it, or one that is not taken.
type reviewed struct {
	module, file string
	licence      string // SPDX; empty for what is about nothing that is linked in
	why          string
}

// publicDomain is what SPDX has no identifier for.
const publicDomain = "LicenseRef-public-domain"

// exceptions are the texts that were read, by the SHA-256 of their bytes: a
// text that changes by one letter is read again.
func exceptions() map[string]reviewed {
	const notice = "the notice that the Apache License wants in each file, instead of its text: the same terms"
	return map[string]reviewed{
		"2423c6eb9948e617a61f7a2d1cb463c69d60e599fbae5931551631d2a8730838": {"github.com/deitch/magic", "LICENSE", "Apache-2.0", notice},
		"b3a6ac899861c2c28a1abd5c7ea8733fefaed6938d730e099c42671386032aeb": {"github.com/in-toto/attestation", "LICENSE", "Apache-2.0", notice},
		"e914fb1f3927226e04b0438e0b541b3c6e3c65de4d64aa8f5cdaa803f05448fd": {
			"github.com/spdx/tools-golang", "LICENSE.code", "Apache-2.0",
			"under the Apache License or the GPL, at the option of whoever uses it: ferry takes the Apache License",
		},
		"df8feba9f3469adec9c1c794633af3edb101f09e1641624ff78282f32ea410ea": {"github.com/therootcompany/xz", "LICENSE", "CC0-1.0", "the whole text of CC0: all rights are given up"},
		"5c640056d513f276d56635af7a0bed81cb7eac02a31b6e56d40c416557a8d8ce": {"github.com/xi2/xz", "LICENSE", publicDomain, "put into the public domain by its authors"},
		"8438c9c89b849131ead81d5435cb97fcf052df5b0b286dda8a2d4c29e6cb3fd0": {"modernc.org/sqlite", "LICENSE-SQLITE", publicDomain, "put into the public domain by SQLite's authors; what makes Go of it has a BSD licence beside it"},
		"5ae5bee3072a841376451b48d8cfcec7188e10543926d5870828d36c8a750dc5": {"modernc.org/memory", "LICENSE-LOGO", "", "where its logo is from, which is not linked in"},
	}
}

// wasReviewed finds a text among those that were read, of that module alone.
func wasReviewed(path string, f licenceFile) (reviewed, bool) {
	sum := sha256.Sum256(f.text)
	r, ok := exceptions()[hex.EncodeToString(sum[:])]
	return r, ok && r.module == path && r.file == f.name
}
