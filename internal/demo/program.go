package demo

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// loadAddress is where a program lies in memory. It fits pages of up to
// 64 KiB, which some arm64 kernels have.
const loadAddress, loadAlign = 0x400000, 0x10000

// maxMessage is the longest message that a program can print, in bytes: what
// one arm64 instruction can load.
const maxMessage = 0xffff

// Program returns a static Linux executable for arch, amd64 or arm64, that
// prints message and ends with exit code 0. It needs no library and no
// compiler: it is a header and a handful of instructions.
func Program(arch, message string) ([]byte, error) {
	if len(message) > maxMessage {
		return nil, fmt.Errorf("make a program: its message has %d bytes; at most %d fit", len(message), maxMessage)
	}
	switch arch {
	case "amd64":
		return executable(elf.EM_X86_64, codeAMD64(len(message)), message)
	case "arm64":
		return executable(elf.EM_AARCH64, codeARM64(len(message)), message)
	}
	return nil, fmt.Errorf("make a program for %q: only amd64 and arm64 are known", arch)
}

// executable puts code and the message behind it into an ELF file with one
// segment, which is the whole file.
func executable(machine elf.Machine, code []byte, message string) ([]byte, error) {
	const headers = 64 + 56
	size := uint64(headers + len(code) + len(message))
	head := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: loadAddress + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	head.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	head.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: loadAddress, Paddr: loadAddress, Filesz: size, Memsz: size, Align: loadAlign,
	}
	var b bytes.Buffer
	for _, part := range []any{head, segment, code, []byte(message)} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("make a program: %w", err)
		}
	}
	return b.Bytes(), nil
}

// codeAMD64 writes n bytes that follow the code to standard output, and exits.
func codeAMD64(n int) []byte {
	length := binary.LittleEndian.AppendUint32(nil, uint32(n))
	b := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
		0xbf, 1, 0, 0, 0, // mov edi, 1 (standard output)
		0x48, 0x8d, 0x35, 16, 0, 0, 0, // lea rsi, [rip+16]: the end of the code
		0xba, // mov edx, n
	}
	b = append(b, length...)
	return append(b,
		0x0f, 0x05, // syscall
		0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
	)
}

// codeARM64 is codeAMD64 for arm64.
func codeARM64(n int) []byte {
	movz := func(register, value uint32) uint32 { return 0xd2800000 | value<<5 | register }
	const svc = 0xd4000001
	// adr x1, +28: from the second instruction to the end of the eight. The
	// offset's two low bits, here 0, stand apart from the others.
	const adr = 0x10000000 | (28>>2)<<5 | 1
	var b []byte
	for _, op := range []uint32{
		movz(0, 1), adr, movz(2, uint32(n)), movz(8, 64), svc, // write(1, message, n)
		movz(0, 0), movz(8, 93), svc, // exit(0)
	} {
		b = binary.LittleEndian.AppendUint32(b, op)
	}
	return b
}
