// block.h -- runs a CUDA kernel on one CPU core: the blocks of the grid one after the other, and within a block every
// CUDA thread as a fiber (a stack of its own). A fiber runs until a barrier stops it; then the next one runs. This is
// the schedule least kind to a kernel that forgot a barrier: whoever comes first runs as far ahead as it can.
#pragma once
#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>
#include <link.h>
#include <sys/mman.h>
#include <ucontext.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace cuda_on_cpu {

struct Site { const char* file; int line; };           // where in the source a thread waits

enum State { NEW, READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Thread {
    dim3 index;
    int warp, lane, fiber;
    State state;
    Site site;
    unsigned mask, partners;                           // lanes asked to meet at the warp barrier; lanes that did
    uint64_t given[4], held[4];                        // what it offers to its warp, and what it offered when all had met
    unsigned block_epoch, warp_epoch;                  // barriers passed, for observe.h
};

struct Fiber { jmp_buf where; ucontext_t start; bool fresh; void* stack; };

constexpr size_t STACK = 256 * 1024, GUARD = 4096;

inline std::vector<Thread> threads;                    // of the block that runs now
inline std::vector<Fiber> fibers;
inline std::vector<int> idle;                          // fibers without a thread
inline Thread* self;                                   // the thread that runs now
inline jmp_buf scheduler;
inline dim3 block_index, block_size, grid_size;
inline uint64_t block_number;
inline void (*body)(void*);
inline void* body_argument;
inline std::string error;
inline int direction = 1;                              // +1: threads in their order, -1: the last one first
inline char* dynamic_memory;                           // extern __shared__ memory, exactly as long as the launch asked
inline size_t dynamic_size;
inline char* static_memory;                            // all other __shared__ memory of this library
inline size_t static_size;

// -- switching stacks --------------------------------------------------------------------------------------------------
// A fiber is started once with setcontext, a slow system call, and from then on left and entered with setjmp/longjmp.

#ifdef __SANITIZE_ADDRESS__                            // the sanitizer wants to know which stack is in use
inline const void* main_stack; inline size_t main_stack_size;
inline void leaving_for(const void* stack, size_t size) { void* unused; __sanitizer_start_switch_fiber(&unused, stack, size); }
inline void arrived(const void** from, size_t* size) { __sanitizer_finish_switch_fiber(nullptr, from, size); }
#else
inline const void* main_stack; inline size_t main_stack_size;
inline void leaving_for(const void*, size_t) {}
inline void arrived(const void**, size_t*) {}
#endif

__attribute__((noinline)) inline void to_scheduler() {
    int fiber = self->fiber;
    if (!_setjmp(fibers[fiber].where)) {
        leaving_for(main_stack, main_stack_size);
        _longjmp(scheduler, 1);
    }
    arrived(nullptr, nullptr);
}

__attribute__((noinline)) inline void to_fiber(Fiber& fiber) {
    if (!_setjmp(scheduler)) {
        leaving_for(fiber.stack, STACK);
        if (fiber.fresh) { fiber.fresh = false; setcontext(&fiber.start); }
        else _longjmp(fiber.where, 1);
    }
    arrived(nullptr, nullptr);
}

// A fiber whose thread has ended goes on with the next one that has not begun: kernels without barriers need one fiber.
inline void fiber_main() {
    arrived(&main_stack, &main_stack_size);
    for (;;) {
        body(body_argument);
        self->state = DONE;
        int fiber = self->fiber;
        long next = self - threads.data() + direction;
        if (error.empty() && next >= 0 && next < long(threads.size()) && threads[next].state == NEW) {
            self = &threads[next];
            self->fiber = fiber;
            self->state = READY;
            continue;
        }
        idle.push_back(fiber);
        to_scheduler();
    }
}

inline void make_fiber() {
    fibers.emplace_back();
    Fiber& fiber = fibers.back();
    void* memory = mmap(nullptr, STACK + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    mprotect(memory, GUARD, PROT_NONE);                // a stack that overflows stops the program, it does not corrupt it
    fiber.stack = (char*)memory + GUARD;
    fiber.fresh = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack;
    fiber.start.uc_stack.ss_size = STACK;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, (void (*)())fiber_main, 0);
    idle.push_back(int(fibers.size()) - 1);
}

inline void run_thread(Thread& thread) {
    if (thread.state == NEW) {
        if (idle.empty()) make_fiber();
        thread.fiber = idle.back();
        idle.pop_back();
    }
    thread.state = READY;
    self = &thread;
    to_fiber(fibers[thread.fiber]);
}

inline void drop_fibers() {                            // after an error: their threads will never go on
    for (Fiber& fiber : fibers) munmap((char*)fiber.stack - GUARD, STACK + GUARD);
    fibers.clear();
    idle.clear();
}

// -- barriers ----------------------------------------------------------------------------------------------------------

inline std::string name(const Thread& t) {
    auto s = [](unsigned v) { return std::to_string(v); };
    return "thread (" + s(t.index.x) + ", " + s(t.index.y) + ", " + s(t.index.z) + ")";
}
inline std::string name(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }

[[noreturn]] inline void fail(const std::string& message) {     // stop the whole launch, called by a thread
    error = message;
    to_scheduler();
    abort();
}

inline void wait(State state, Site site) {
    self->state = state;
    self->site = site;
    to_scheduler();
}

inline std::string where(const Thread& t) {
    if (t.state == DONE) return name(t) + " has ended";
    return name(t) + " waits at the " + (t.state == AT_WARP_BARRIER ? "warp" : "block") + " barrier of " + name(t.site);
}

// Open the block's barrier if every thread that has not ended waits there, all of them at the same line.
inline bool open_block_barrier() {
    Thread* first = nullptr;
    for (Thread& t : threads) {
        if (t.state == DONE) continue;
        if (t.state != AT_BLOCK_BARRIER) return false;
        if (!first) first = &t;
        if (t.site.line != first->site.line) {
            error = "barrier divergence: " + where(*first) + ", " + where(t);
            return false;
        }
    }
    if (!first) return false;
    for (Thread& t : threads) if (t.state == AT_BLOCK_BARRIER) { t.state = READY; ++t.block_epoch; }
    return true;
}

// Open the barriers of one warp: a group opens when all lanes of its mask that have not ended are there.
inline bool open_warp_barriers(size_t begin, size_t end) {
    bool opened = false;
    for (size_t i = begin; i < end; ++i) {
        unsigned mask = threads[i].mask, partners = 0;
        if (threads[i].state != AT_WARP_BARRIER) continue;
        bool complete = true;
        for (size_t j = begin; j < end; ++j) {
            Thread& t = threads[j];
            if (!(mask >> t.lane & 1) || t.state == DONE) continue;
            bool here = t.state == AT_WARP_BARRIER && t.mask == mask && t.site.line == threads[i].site.line;
            if (here) partners |= 1u << t.lane; else complete = false;
        }
        if (!complete) continue;
        for (size_t j = begin; j < end; ++j) if (partners >> threads[j].lane & 1) {
            Thread& t = threads[j];
            t.state = READY;
            t.partners = partners;
            ++t.warp_epoch;
            memcpy(t.held, t.given, sizeof t.held);
        }
        opened = true;
    }
    return opened;
}

inline void meet_warp(unsigned mask, Site site) {
    if (!(mask >> self->lane & 1))
        fail("at " + name(site) + ", " + name(*self) + " is lane " + std::to_string(self->lane) + ", which its own mask leaves out");
    self->mask = mask;
    wait(AT_WARP_BARRIER, site);
}

// Offer a value to the warp; then `held<T>(lane)` reads what another lane offered.
template <class T> void offer(const T& value, unsigned mask, Site site) {
    static_assert(sizeof(T) <= sizeof self->given, "too large for an exchange within a warp");
    memcpy(self->given, &value, sizeof value);
    meet_warp(mask, site);
}
template <class T> T held(int lane, Site site) {
    if (lane < 0 || lane > 31 || !(self->partners >> lane & 1))
        fail("at " + name(site) + ", " + name(*self) + " reads from lane " + std::to_string(lane) + ", which takes no part");
    T value;
    memcpy(&value, threads[self->warp * 32 + lane].held, sizeof value);
    return value;
}

// -- a block and a grid ------------------------------------------------------------------------------------------------

// A __shared__ variable is thread_local here (cuda.h), so static shared memory is this library's thread-local segment.
inline thread_local int segment_mark;
inline void find_static_memory() {
    segment_mark = 0;                                  // the segment is made on first use
    static_memory = nullptr;
    static_size = 0;
    dl_iterate_phdr([](dl_phdr_info* library, size_t, void* mark) {
        for (int i = 0; i < library->dlpi_phnum; ++i) {
            char* segment = (char*)library->dlpi_tls_data;
            size_t size = library->dlpi_phdr[i].p_memsz;
            if (library->dlpi_phdr[i].p_type == PT_TLS && segment && segment <= (char*)mark && (char*)mark < segment + size) {
                static_memory = segment;
                static_size = size;
            }
        }
        return 0;
    }, &segment_mark);
}

inline void run_block() {
    memset(static_memory, 0xff, static_size);          // shared memory starts as NaN
    memset(dynamic_memory, 0xff, dynamic_size);
    for (Thread& t : threads) { t.state = NEW; t.block_epoch = t.warp_epoch = 0; }
    const size_t n = threads.size();
    for (bool progress = true; progress;) {
        progress = false;
        for (size_t k = 0; k < n; ++k) {
            Thread& t = threads[direction > 0 ? k : n - 1 - k];
            if (t.state != NEW && t.state != READY) continue;
            run_thread(t);
            progress = true;
            if (!error.empty()) return;
        }
        for (size_t w = 0; w < n; w += 32) progress |= open_warp_barriers(w, std::min(n, w + 32));
        progress |= open_block_barrier();
        if (!error.empty()) return;
    }
    // Nobody can go on. Two who wait for each other tell more than two who wait at the same place.
    Thread *first = nullptr, *other = nullptr;
    for (Thread& t : threads) if (t.state != DONE && !first) first = &t;
    if (!first) return;
    for (Thread& t : threads)
        if (!other && (t.state != first->state || t.site.line != first->site.line)) other = &t;
    error = "barrier divergence: " + where(*first) + (other ? ", " + where(*other) : "");
}

struct Launch {                                        // filled by module.py
    unsigned grid[3], block[3];
    int reversed;
    uint64_t shared_mem;
};

template <class... A, size_t... I>
void run_grid(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    auto call = [&] { kernel(*(std::remove_reference_t<A>*)arguments[I]...); };
    body = [](void* p) { (*(decltype(call)*)p)(); };
    body_argument = &call;
    block_number = 0;
    for (unsigned z = 0; z < grid_size.z; ++z)
        for (unsigned y = 0; y < grid_size.y; ++y)
            for (unsigned x = 0; x < grid_size.x; ++x, ++block_number) {
                block_index = dim3(x, y, z);
                run_block();
                if (error.empty()) continue;
                auto s = [](unsigned v) { return std::to_string(v); };
                error += ", in block (" + s(x) + ", " + s(y) + ", " + s(z) + ")";
                return;
            }
}

template <class... A>
const char* launch(void (*kernel)(A...), const Launch* how, void** arguments) {
    grid_size = dim3(how->grid[0], how->grid[1], how->grid[2]);
    block_size = dim3(how->block[0], how->block[1], how->block[2]);
    direction = how->reversed ? -1 : 1;
    error.clear();
    threads.assign(size_t(block_size.x) * block_size.y * block_size.z, Thread{});
    for (size_t i = 0; i < threads.size(); ++i) {
        unsigned n = unsigned(i);
        threads[i].index = dim3(n % block_size.x, n / block_size.x % block_size.y, n / (block_size.x * block_size.y));
        threads[i].warp = int(i / 32);
        threads[i].lane = int(i % 32);
    }
    fibers.reserve(1024);                              // a CUDA block has no more threads; their addresses must not move
    find_static_memory();
    dynamic_size = how->shared_mem;
    dynamic_memory = (char*)aligned_alloc(128, (dynamic_size + 127) / 128 * 128 + 128);
#ifdef __SANITIZE_ADDRESS__
    __asan_poison_memory_region(dynamic_memory + dynamic_size, (dynamic_size + 127) / 128 * 128 + 128 - dynamic_size);
#endif
    run_grid(kernel, arguments, std::index_sequence_for<A...>{});
    if (!error.empty()) drop_fibers();
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(dynamic_memory, (dynamic_size + 127) / 128 * 128 + 128);
#endif
    free(dynamic_memory);
    return error.empty() ? nullptr : error.c_str();
}

template <class... A> const char* signature(void (*)(A...)) {
    static std::string types;
    types.clear();
    ((types += typeid(A).name(), types += ' '), ...);
    return types.c_str();
}

}  // namespace cuda_on_cpu
