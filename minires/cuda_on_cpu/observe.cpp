// observe.cpp -- called at every load and store of a kernel compiled with -fsanitize=thread: these functions replace
// the sanitizer's own library. Loads and stores outside the watched arrays and shared memory are a thread's own.
#include "observe.h"
#include <algorithm>
#include <string>

using namespace cuda_on_cpu;

namespace cuda_on_cpu { __attribute__((visibility("default"))) uint64_t operations; }       // counted.h adds to it

namespace {

std::vector<Range> ranges;
std::vector<Memory> memories;
uint64_t shared_loaded, shared_stored;
std::string races;
int races_reported;
bool observing, counting;

Memory* memory_at(uint64_t address) {
    for (Memory& m : memories) if (address - m.begin < m.size) return &m;
    return nullptr;
}

Memory* shared_at(uint64_t address) {
    // Known only once the launch has begun; each block's shared memory is new, so what others did there is forgotten.
    static uint64_t block;
    if (memories.size() == ranges.size()) {
        memories.push_back({"static shared memory", -1, uint64_t(static_memory), static_size, std::vector<Byte>(static_size)});
        memories.push_back({"dynamic shared memory", -1, uint64_t(dynamic_memory), dynamic_size, std::vector<Byte>(dynamic_size)});
        block = block_number;
    }
    if (block != block_number) {
        for (size_t i = ranges.size(); i < memories.size(); ++i) std::fill(memories[i].bytes.begin(), memories[i].bytes.end(), Byte());
        block = block_number;
    }
    return memory_at(address);
}

bool ordered(const Access& before, const Access& now) {
    if (before.thread < 0) return true;
    if (before.block != now.block) return false;
    if (before.thread == now.thread || before.block_epoch < now.block_epoch) return true;
    return before.thread / 32 == now.thread / 32 && before.warp_epoch < now.warp_epoch;
}

std::string who(const Access& a) {
    const dim3 i = threads[a.thread].index;
    return "thread (" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ") of block "
         + std::to_string(a.block);
}

void report(const Memory& m, uint64_t offset, const Access& a, const char* did, const Access& b, const char* does) {
    if (races_reported++ >= 8) return;                 // the first few tell the story
    races += who(b) + " " + does + " byte " + std::to_string(offset) + " of "
           + (m.number < 0 ? std::string(m.name) : "argument #" + std::to_string(m.number)) + ", which " + who(a) + " "
           + did + ", and no barrier is between\n";
}

void access(const void* pointer, size_t size, bool store, bool counted = true) {
    if (!observing || !self) return;
    const uint64_t address = uint64_t(pointer);
    Memory* m = memory_at(address);
    if (!m || m->number < 0) m = shared_at(address);
    if (!m) return;
    if (counting && m->number < 0 && size == 1) return;         // g++ asks whether a variable of class `counted` has begun
    if (counted && m->number < 0) (store ? shared_stored : shared_loaded) += size;
    else if (counted) (store ? ranges[m->number].stored : ranges[m->number].loaded) += size;
    const Access now = {block_number, int(self - threads), self->block_epoch, self->warp_epoch};
    for (uint64_t i = address - m->begin, end = std::min(i + size, m->size); i < end; ++i) {
        Byte& b = m->bytes[i];
        bool clash = true;
        if (!ordered(b.store, now)) report(*m, i, b.store, "stored", now, store ? "stores" : "loads");
        else if (store && !ordered(b.load, now)) report(*m, i, b.load, "loaded", now, "stores");
        else if (store && !ordered(b.other_load, now)) report(*m, i, b.other_load, "loaded", now, "stores");
        else clash = false;
        if (store) b.store = now;
        else {
            if (b.load.thread != now.thread || b.load.block != now.block) b.other_load = b.load;
            b.load = now;
        }
        if (clash) break;                              // report an access once, not for each of its bytes
    }
}

}  // namespace

namespace cuda_on_cpu {
void observe_copy(void* to, size_t size) { access(to, size, true, false); }
void observe_copied(void* to, const void* from, size_t size) {
    if (from) access(from, size, false);
    access(to, size, true);
}
}  // namespace cuda_on_cpu

#pragma GCC visibility push(default)
extern "C" {

void observe_begin(const Range* given, int count, int arithmetic) {
    ranges.assign(given, given + count);
    memories.clear();
    for (int i = 0; i < count; ++i) memories.push_back({"", i, given[i].begin, given[i].size, std::vector<Byte>(given[i].size)});
    shared_loaded = shared_stored = 0;
    races.clear();
    races_reported = 0;
    self = nullptr;
    operations = 0;
    counting = arithmetic;
    observing = true;
}

const char* observe_end(Range* given, uint64_t* totals) {
    observing = false;
    std::copy(ranges.begin(), ranges.end(), given);
    memories.clear();
    totals[0] = shared_loaded;
    totals[1] = shared_stored;
    totals[2] = operations;
    if (races_reported > 8) races += "and " + std::to_string(races_reported - 8) + " more\n";
    return races.c_str();
}

#define ACCESSES(size)                                                                                                 \
    void __tsan_read##size(void* p) { access(p, size, false); }                                                        \
    void __tsan_write##size(void* p) { access(p, size, true); }                                                        \
    void __tsan_unaligned_read##size(void* p) { access(p, size, false); }                                              \
    void __tsan_unaligned_write##size(void* p) { access(p, size, true); }                                              \
    void __tsan_volatile_read##size(void* p) { access(p, size, false); }                                               \
    void __tsan_volatile_write##size(void* p) { access(p, size, true); }
ACCESSES(1) ACCESSES(2) ACCESSES(4) ACCESSES(8) ACCESSES(16)
void __tsan_read_range(void* p, size_t size) { access(p, size, false); }
void __tsan_write_range(void* p, size_t size) { access(p, size, true); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}

}
#pragma GCC visibility pop
