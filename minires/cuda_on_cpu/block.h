// block.h -- a CUDA block on one CPU core, as the kernels see it: who runs, how it waits, what a warp exchanges.
// The other side is block.cpp.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#pragma GCC visibility push(default)
namespace cuda_on_cpu {

struct counted;                                        // counted.h: stands in for float

struct Site { const char* file; int line; };           // where in the source a thread waits

enum State { NEW, READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Thread {
    dim3 index;
    int warp, lane, fiber;
    State state;
    Site site;
    unsigned mask, partners;                           // lanes that should meet at the warp barrier; lanes that did
    uint64_t given[4], held[4];                        // what it offers to its warp; what it offered when all had met
    unsigned block_epoch, warp_epoch;                  // barriers passed, for observe.cpp
};

extern Thread* self;                                   // the thread that is running
extern Thread* threads;                                // all threads of its block
extern dim3 block_index, block_size, grid_size;
extern char* dynamic_memory;                           // extern __shared__ memory, exactly as long as the launch asked

void wait(State at, Site site);                        // until all threads of the block, or those of the mask, are there
void meet_warp(unsigned mask, Site site);
[[noreturn]] void no_partner(int lane, Site site);

// Asynchronous copies to shared memory. Of what a thread copies, nothing arrives before it waits, and from the call on
// what was there before is lost: it reads as NaN. That is the latest and the earliest that a GPU may do either.
void begin_copy(void* to, const void* from, int bytes, bool inside, Site site);  // zeros if not inside
void commit_copies();                                  // the copies begun since the last call are one group
void wait_for_copies(int newest);                      // until all groups but the newest ones have arrived

// Offer a value to the warp; when all have met, `held<T>(lane)` reads what another lane offered.
template <class T> void offer(const T& value, unsigned mask, Site site) {
    static_assert(sizeof(T) <= sizeof self->given, "too large for an exchange within a warp");
    memcpy(self->given, &value, sizeof value);
    meet_warp(mask, site);
}
template <class T> T held(int lane, Site site) {
    if (lane < 0 || lane > 31 || !(self->partners >> lane & 1)) no_partner(lane, site);
    T value;
    memcpy(&value, threads[self->warp * 32 + lane].held, sizeof value);
    return value;
}

struct Launch {                                        // filled by module.py
    unsigned grid[3], block[3];
    int reversed;
    uint64_t shared_mem;
};

// Run `body(argument)` as every thread of every block. `mark` is in the kernels' static shared memory.
// Returns what went wrong, or a null pointer.
const char* run_grid(const Launch* how, void (*body)(void*), void* argument, void* mark);

}  // namespace cuda_on_cpu
#pragma GCC visibility pop

namespace cuda_on_cpu {

static thread_local int mark;

template <class... A, size_t... I>
const char* launch(void (*kernel)(A...), const Launch* how, void** arguments, std::index_sequence<I...>) {
    auto call = [&] { kernel(*(std::remove_reference_t<A>*)arguments[I]...); };
    return run_grid(how, [](void* p) { (*(decltype(call)*)p)(); }, &call, &mark);
}
template <class... A>                                  // arguments as cuLaunchKernel takes them: the address of each
const char* launch(void (*kernel)(A...), const Launch* how, void** arguments) {
    return launch(kernel, how, arguments, std::index_sequence_for<A...>{});
}
// The compiler's name of a parameter's type; for a struct, S and its size, as it is passed by value.
template <class A> const char* name_of() {
    if constexpr (std::is_class_v<A> && !std::is_same_v<A, counted>) {
        static const std::string name = "S" + std::to_string(sizeof(A));
        return name.c_str();
    }
    return typeid(A).name();
}
template <class... A> const char* const* signature(void (*)(A...)) {
    static const char* names[] = {name_of<A>()..., nullptr};
    return names;
}

}  // namespace cuda_on_cpu
