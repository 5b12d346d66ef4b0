// block.cpp -- runs a CUDA kernel on one CPU core: the blocks of the grid one after the other, and within a block every
// CUDA thread as a fiber (a stack of its own). A fiber runs until a barrier stops it; then the next one runs. This is
// the schedule least kind to a kernel that lacks a barrier: whoever comes first runs as far ahead as it can.
#include "block.h"
#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <string>
#include <vector>
#include <link.h>
#include <sys/mman.h>
#include <ucontext.h>
#ifdef __SANITIZE_ADDRESS__
#include <dlfcn.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#include "observe.h"

namespace cuda_on_cpu {

Thread* self;
Thread* threads;
dim3 block_index, block_size, grid_size;
char* dynamic_memory;
size_t dynamic_size;
char* static_memory;                                   // the __shared__ variables of the kernels' library
size_t static_size;
uint64_t block_number;

static std::vector<Thread> block;
static std::string error;
static int direction;                                  // +1: threads in their order, -1: the last one first
static void (*body)(void*);
static void* body_argument;

// -- switching stacks --------------------------------------------------------------------------------------------------
// A fiber is started once with setcontext, which makes a slow system call; from then on setjmp and longjmp switch.

struct Fiber { jmp_buf where; ucontext_t start; bool fresh; void* stack; };

constexpr size_t STACK = 256 * 1024, GUARD = 4096;
static std::vector<Fiber> fibers;
static std::vector<int> idle;                          // fibers without a thread
static jmp_buf scheduler;

#ifdef __SANITIZE_ADDRESS__                            // the sanitizer must know which stack is in use
static const void* main_stack;
static size_t main_stack_size;
static void leaving_for(const void* stack, size_t size) { void* unused; __sanitizer_start_switch_fiber(&unused, stack, size); }
static void leaving_for_scheduler() { leaving_for(main_stack, main_stack_size); }
static void arrived() { __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr); }
static void arrived_first() { __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_stack_size); }
static void forget(void* stack) { __asan_unpoison_memory_region(stack, STACK); }
// The C library's own: the sanitizer's makes a system call, and forgets what of the stack is out of bounds.
static const auto jump = (void (*)(jmp_buf, int))dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), "_longjmp");
#else
static void leaving_for(const void*, size_t) {}
static void leaving_for_scheduler() {}
static void arrived() {}
static void arrived_first() {}
static void forget(void*) {}
static void jump(jmp_buf where, int value) { _longjmp(where, value); }
#endif

__attribute__((noinline)) static void to_scheduler() {
    if (!_setjmp(fibers[self->fiber].where)) {
        leaving_for_scheduler();
        jump(scheduler, 1);
    }
    arrived();
}

__attribute__((noinline)) static void to_fiber(Fiber& fiber) {
    if (!_setjmp(scheduler)) {
        leaving_for(fiber.stack, STACK);
        if (!fiber.fresh) jump(fiber.where, 1);
        fiber.fresh = false;
        setcontext(&fiber.start);
    }
    arrived();
}

// A fiber whose thread has ended runs the next thread that has not begun: kernels without barriers need only one fiber.
static void fiber_main() {
    arrived_first();
    for (;;) {
        body(body_argument);
        self->state = DONE;
        const int fiber = self->fiber;
        const long next = self - threads + direction;
        if (next >= 0 && next < long(block.size()) && threads[next].state == NEW) {
            self = &threads[next];
            self->fiber = fiber;
            self->state = READY;
            continue;
        }
        idle.push_back(fiber);
        to_scheduler();
    }
}

static void make_fiber() {
    fibers.emplace_back();
    Fiber& fiber = fibers.back();
    void* memory = mmap(nullptr, STACK + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    mprotect(memory, GUARD, PROT_NONE);                // a stack overflow stops the program instead of corrupting it
    fiber.stack = (char*)memory + GUARD;
    fiber.fresh = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack;
    fiber.start.uc_stack.ss_size = STACK - fibers.size() * 320 % 4096;  // let stacks begin in different cache lines
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, fiber_main, 0);
    idle.push_back(int(fibers.size()) - 1);
}

static void run_thread(Thread& thread) {
    if (thread.state == NEW) {
        if (idle.empty()) make_fiber();
        thread.fiber = idle.back();
        idle.pop_back();
    }
    thread.state = READY;
    self = &thread;
    to_fiber(fibers[thread.fiber]);
}

static void drop_fibers() {                            // after an error: their threads will never go on
    for (Fiber& fiber : fibers) {
        forget(fiber.stack);
        munmap((char*)fiber.stack - GUARD, STACK + GUARD);
    }
    fibers.clear();
    idle.clear();
}

// -- barriers ----------------------------------------------------------------------------------------------------------

static std::string name(dim3 i) {
    return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}
static std::string name(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }
static std::string name(const Thread& t) { return "thread " + name(t.index); }

static std::string where(const Thread& t) {
    return name(t) + " waits at the " + (t.state == AT_WARP_BARRIER ? "warp" : "block") + " barrier of " + name(t.site);
}

[[noreturn]] static void fail(const std::string& message) {     // a thread stops the whole launch
    error = message;
    to_scheduler();
    abort();
}

void wait(State at, Site site) {
    self->state = at;
    self->site = site;
    to_scheduler();
}

void meet_warp(unsigned mask, Site site) {
    if (!(mask >> self->lane & 1))
        fail("at " + name(site) + ", " + name(*self) + " is lane " + std::to_string(self->lane) + ", left out by its own mask");
    self->mask = mask;
    wait(AT_WARP_BARRIER, site);
}

void no_partner(int lane, Site site) {
    fail("at " + name(site) + ", " + name(*self) + " reads from lane " + std::to_string(lane) + ", which takes no part");
}

// Open the block's barrier if every thread that has not ended waits there, all of them at the same line.
static bool open_block_barrier() {
    Thread* first = nullptr;
    for (Thread& t : block) {
        if (t.state == DONE) continue;
        if (t.state != AT_BLOCK_BARRIER) return false;
        if (!first) first = &t;
        if (t.site.line != first->site.line) {
            error = "barrier divergence: " + where(*first) + ", " + where(t);
            return false;
        }
    }
    if (!first) return false;
    for (Thread& t : block) if (t.state == AT_BLOCK_BARRIER) { t.state = READY; ++t.block_epoch; }
    return true;
}

// Open the barriers of one warp: a group opens when all lanes of its mask that have not ended are there.
static bool open_warp_barriers(Thread* begin, Thread* end) {
    bool opened = false;
    for (Thread* one = begin; one < end; ++one) {
        if (one->state != AT_WARP_BARRIER) continue;
        unsigned partners = 0, epoch = 0;
        bool complete = true;
        for (Thread* t = begin; t < end; ++t) {
            if (!(one->mask >> t->lane & 1) || t->state == DONE) continue;
            if (t->state == AT_WARP_BARRIER && t->mask == one->mask && t->site.line == one->site.line) {
                partners |= 1u << t->lane;
                epoch = std::max(epoch, t->warp_epoch + 1);
            } else complete = false;
        }
        if (!complete) continue;
        for (Thread* t = begin; t < end; ++t) {
            if (!(partners >> t->lane & 1)) continue;
            t->state = READY;
            t->partners = partners;
            t->warp_epoch = epoch;
            memcpy(t->held, t->given, sizeof t->held);
        }
        opened = true;
    }
    return opened;
}

// -- copies to shared memory -------------------------------------------------------------------------------------------

struct Copy { char* to; const char* from; int bytes, group; };         // from is a null pointer for zeros
struct Copies { std::vector<Copy> under_way; int group; };             // group: committed so far
static std::vector<Copies> copies;                     // of each thread

void begin_copy(void* to, const void* from, int bytes, bool inside, Site site) {
    const auto is_in = [&](const char* memory, size_t size) { return size_t((char*)to - memory) + bytes <= size; };
    const char* wrong = uint64_t(to) % bytes || (inside && uint64_t(from) % bytes) ? "an address that is no multiple of "
                        : !is_in(static_memory, static_size) && !is_in(dynamic_memory, dynamic_size)
                        ? "a destination outside shared memory, of " : nullptr;
    if (wrong) fail("at " + name(site) + ", " + name(*self) + " begins a copy with " + wrong + std::to_string(bytes) + " bytes");
    observe_copy(to, bytes);
    memset(to, 0xff, bytes);
    Copies& mine = copies[self - threads];
    mine.under_way.push_back({(char*)to, inside ? (const char*)from : nullptr, bytes, mine.group});
}

void commit_copies() { ++copies[self - threads].group; }

void wait_for_copies(int newest) {
    Copies& mine = copies[self - threads];
    size_t arrived = 0;
    for (; arrived < mine.under_way.size() && mine.under_way[arrived].group < mine.group - newest; ++arrived) {
        const Copy& c = mine.under_way[arrived];
        observe_copied(c.to, c.from, c.bytes);
        if (c.from) memcpy(c.to, c.from, c.bytes);
        else memset(c.to, 0, c.bytes);
    }
    mine.under_way.erase(mine.under_way.begin(), mine.under_way.begin() + arrived);
}

// -- a block and a grid ------------------------------------------------------------------------------------------------

static void run_block() {
    memset(static_memory, 0xff, static_size);          // shared memory starts as NaN
    memset(dynamic_memory, 0xff, dynamic_size);
    for (Thread& t : block) { t.state = NEW; t.block_epoch = t.warp_epoch = 0; }
    for (Copies& c : copies) c = {};
    const size_t n = block.size();
    for (bool progress = true; progress;) {
        progress = false;
        for (size_t k = 0; k < n; ++k) {
            Thread& t = block[direction > 0 ? k : n - 1 - k];
            if (t.state != NEW && t.state != READY) continue;
            run_thread(t);
            progress = true;
            if (!error.empty()) return;
        }
        for (size_t w = 0; w < n; w += 32) progress |= open_warp_barriers(&block[w], &block[0] + std::min(n, w + 32));
        progress |= open_block_barrier();
        if (!error.empty()) return;
    }
    // If a thread still waits, none can go on. Two that wait at different places tell more than two at the same one.
    Thread *first = nullptr, *other = nullptr;
    for (Thread& t : block) {
        if (t.state == DONE) continue;
        if (!first) first = &t;
        if (!other && (t.state != first->state || t.site.line != first->site.line)) other = &t;
    }
    if (first) error = "barrier divergence: " + where(*first) + (other ? ", " + where(*other) : "; the others of its mask never come");
}

// A __shared__ variable is thread-local (cuda.h), so static shared memory is the kernels' thread-local segment.
static void find_static_memory(void* mark) {
    *(volatile char*)mark;                             // the segment is made on first use
    static_memory = (char*)mark;
    static_size = 0;
    dl_iterate_phdr([](dl_phdr_info* library, size_t, void* mark) {
        for (int i = 0; i < library->dlpi_phnum; ++i) {
            char* segment = (char*)library->dlpi_tls_data;
            const size_t size = library->dlpi_phdr[i].p_memsz;
            if (library->dlpi_phdr[i].p_type != PT_TLS || !segment || segment > mark || mark >= segment + size) continue;
            static_memory = segment;
            static_size = size;
        }
        return 0;
    }, mark);
}

const char* run_grid(const Launch* how, void (*kernel)(void*), void* argument, void* mark) {
    grid_size = dim3(how->grid[0], how->grid[1], how->grid[2]);
    block_size = dim3(how->block[0], how->block[1], how->block[2]);
    direction = how->reversed ? -1 : 1;
    body = kernel;
    body_argument = argument;
    error.clear();
    fibers.reserve(1024);                              // a CUDA block has no more threads; their addresses must not move
    find_static_memory(mark);

    block.assign(size_t(block_size.x) * block_size.y * block_size.z, Thread{});
    threads = block.data();
    copies.assign(block.size(), {});
    for (unsigned i = 0; i < block.size(); ++i) {
        threads[i].index = dim3(i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y));
        threads[i].warp = int(i / 32);
        threads[i].lane = int(i % 32);
    }
    dynamic_size = how->shared_mem;
    const size_t allocated = (dynamic_size + 127) / 128 * 128 + 128;
    dynamic_memory = (char*)aligned_alloc(128, allocated);
#ifdef __SANITIZE_ADDRESS__
    __asan_poison_memory_region(dynamic_memory + dynamic_size, allocated - dynamic_size);
#endif
    block_number = 0;
    for (unsigned z = 0; z < grid_size.z && error.empty(); ++z)
        for (unsigned y = 0; y < grid_size.y && error.empty(); ++y)
            for (unsigned x = 0; x < grid_size.x && error.empty(); ++x, ++block_number) {
                block_index = dim3(x, y, z);
                run_block();
            }
    if (!error.empty()) {
        error += ", in block " + name(block_index);
        drop_fibers();
    }
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(dynamic_memory, allocated);
#endif
    free(dynamic_memory);
    self = nullptr;
    return error.empty() ? nullptr : error.c_str();
}

}  // namespace cuda_on_cpu
