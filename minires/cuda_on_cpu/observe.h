// observe.h -- what a watched kernel does with memory: bytes, and pairs of accesses that no barrier orders.
#pragma once
#include "block.h"
#include <vector>

namespace cuda_on_cpu {

// Of block.cpp, while a kernel runs.
extern char* static_memory;
extern size_t static_size, dynamic_size;
extern uint64_t block_number;

struct Range {                                         // an array to watch; watch.py has the same layout
    uint64_t begin, size, loaded, stored;
};

// When and by whom a byte was last touched. Two accesses are ordered if one thread made both, or a block barrier lies
// between them, or, within a warp, a warp barrier; accesses of two blocks never are.
struct Access {
    uint64_t block;
    int thread = -1;
    unsigned block_epoch, warp_epoch;
};

struct Byte { Access store, load, other_load; };       // other_load: the last one by another thread than load's

struct Memory {
    const char* name;
    int number;                                        // which argument; -1 for shared memory
    uint64_t begin, size;
    std::vector<Byte> bytes;
};

// Called by block.cpp for asynchronous copies, whose memory is touched twice: the store is a race wherever it falls, from
// the moment the copy begins to the moment it arrives, but its bytes are counted once.
void observe_copy(void* to, size_t size);
void observe_copied(void* to, const void* from, size_t size);

}  // namespace cuda_on_cpu
