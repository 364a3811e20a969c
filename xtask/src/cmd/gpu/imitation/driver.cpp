// CUDA's driver as far as skewbench and Candle call it, with kernels that run on the CPU. Everything that a stream is given is
// done as late as a GPU may do it: when somebody waits, or gigabytes are to be freed. Device memory that is fresh or freed is NaN,
// and so is what lies behind each piece, which is looked at after every kernel that is given it.
#include "imitation.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <set>

using namespace imitation;

namespace {

// An H100's, as far as they are asked for.
constexpr int MULTIPROCESSORS = 132, THREADS = 1024;
constexpr std::size_t SHARED_UNASKED = 48 * 1024, SHARED_MOST = 227 * 1024;
constexpr unsigned GRID_ACROSS = 0x7fffffff, GRID_DOWN = 65535;

std::recursive_mutex everything;
#define ALONE std::lock_guard<std::recursive_mutex> alone(everything)

// ---- Memory

constexpr std::size_t ALIGNED = 512, GUARD = 512, ARENA = std::size_t(1) << 36;
constexpr int NOTHING = 0xff;
char *arena = nullptr;
std::size_t used = 0;
// Pieces in use by address, and those free by their size; both with room for what surrounds them.
std::map<char *, std::size_t> pieces;
std::multimap<std::size_t, char *> spare;
std::map<char *, std::size_t> pinned;
// Bytes that a stream will free. Beyond so many, everything is done before more is given.
std::size_t to_free = 0;
constexpr std::size_t MOST_TO_FREE = std::size_t(2) << 30;

std::size_t rounded(std::size_t bytes) { return (bytes + ALIGNED - 1) / ALIGNED * ALIGNED; }

char *allocate(std::size_t bytes) {
    const std::size_t whole = rounded(bytes) + GUARD;
    if (!arena) {
        arena = (char *)mmap(nullptr, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED) fail("no room for device memory");
    }
    char *place;
    const auto found = spare.lower_bound(whole);
    if (found != spare.end() && found->first == whole) {
        place = found->second;
        spare.erase(found);
    } else {
        place = arena + used;
        if (used + whole > ARENA) fail("device memory is full: %zu bytes asked for, %zu used", bytes, used);
        used += whole;
    }
    std::memset(place, NOTHING, whole);
    pieces[place] = bytes;
    return place;
}

// What lies behind a piece must be as it was.
void look_behind(char *place, std::size_t bytes, const char *after) {
    const char *end = place + rounded(bytes) + GUARD;
    for (const char *at = place + bytes; at < end; at++)
        if (*at != char(NOTHING)) fail("%s: wrote %zd bytes behind a piece of %zu bytes", after, at - place - bytes, bytes);
}

void release(char *place) {
    const auto found = pieces.find(place);
    if (found == pieces.end()) fail("frees %p, which was not allocated", (void *)place);
    look_behind(place, found->second, "free");
    const std::size_t whole = rounded(found->second) + GUARD;
    std::memset(place, NOTHING, whole);
    spare.emplace(whole, place);
    pieces.erase(found);
}

// The piece in which `bytes` from an address lie.
void inside(CUdeviceptr address, std::size_t bytes, const char *what) {
    auto found = pieces.upper_bound((char *)address);
    if (found != pieces.begin()) {
        --found;
        if ((char *)address + bytes <= found->first + found->second) return;
    }
    fail("%s: %zu bytes from %p are not all in one piece of device memory", what, bytes, (void *)address);
}

bool is_pinned(const void *address) {
    auto found = pinned.upper_bound((char *)address);
    return found != pinned.begin() && (--found, (const char *)address < found->first + found->second);
}

// ---- Streams

struct Work {
    const char *name;
    std::function<void()> run;
    // Addresses that it is given, perhaps.
    std::vector<char *> given;
};

}  // namespace

struct CUstream_st {
    std::deque<Work> waiting;
    unsigned long long given = 0, done = 0;
};

struct CUevent_st {
    CUstream stream = nullptr;
    unsigned long long place = 0;
};

namespace {

std::set<CUstream> streams;
constexpr std::size_t LONGEST_QUEUE = 100'000;

// The legacy default stream is one like others here.
CUstream real(CUstream stream) {
    static CUstream_st unnamed;
    if (!stream) streams.insert(&unnamed);
    return stream ? stream : &unnamed;
}

void drain(CUstream stream, unsigned long long until) {
    while (stream->done < until && !stream->waiting.empty()) {
        const Work work = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        work.run();
        stream->done++;
        for (char *place : work.given) {
            const auto piece = pieces.find(place);
            if (piece != pieces.end()) look_behind(piece->first, piece->second, work.name);
        }
    }
    for (const auto &piece : pieces) look_behind(piece.first, piece.second, "something");
}

void drain_all() {
    for (const auto stream : streams) drain(stream, stream->given);
}

void give(CUstream stream, const char *name, std::function<void()> run, std::vector<char *> given = {}) {
    stream = real(stream);
    stream->waiting.push_back({name, std::move(run), std::move(given)});
    stream->given++;
    if (stream->waiting.size() > LONGEST_QUEUE) drain(stream, stream->given);
}

// ---- Modules

std::map<std::string, Kernels> &files() {
    static std::map<std::string, Kernels> files;
    return files;
}

}  // namespace

struct CUfunc_st {
    std::string name;
    const Kernel *kernel = nullptr;
    // By the compiled text for GPUs.
    std::size_t parameters = 0, static_shared = 0;
    unsigned most_threads = THREADS;
    std::size_t allowed_shared = 0;
};

struct CUmod_st {
    std::map<std::string, CUfunc_st> functions;
};

namespace {

// How often each kernel was launched, for the file that IMITATED_GPU_LAUNCHED names.
struct Launched {
    std::map<std::string, unsigned long long> times;
    ~Launched() {
        const char *path = std::getenv("IMITATED_GPU_LAUNCHED");
        std::FILE *file = path ? std::fopen(path, "a") : nullptr;
        if (!file) return;
        for (const auto &[name, count] : times) std::fprintf(file, "%s %llu\n", name.c_str(), count);
        std::fclose(file);
    }
} launched;

bool of_a_name(char c) { return std::isalnum((unsigned char)c) || c == '_' || c == '$'; }

// The kernels that a text of PTX has, with what it says of each.
CUmod_st *parse(const std::string &ptx) {
    auto module = std::make_unique<CUmod_st>();
    std::map<std::string, std::size_t> shared;
    for (std::size_t at = 0; (at = ptx.find(".shared .align", at)) != std::string::npos;) {
        // `.shared .align 4 .b8 name[256];`; of one word no size is said, nor of what a launch gives the size of.
        const std::size_t end = std::min(ptx.find('[', at), ptx.find(';', at));
        std::size_t start = end;
        while (of_a_name(ptx[start - 1])) start--;
        shared[ptx.substr(start, end - start)] = std::strtoul(ptx.c_str() + end + 1, nullptr, 10);
        at = end;
    }
    const std::string mark = ".entry ";
    for (std::size_t at = 0; (at = ptx.find(mark, at)) != std::string::npos;) {
        at += mark.size();
        CUfunc_st function;
        while (of_a_name(ptx[at])) function.name += ptx[at++];
        const std::size_t body = ptx.find("\n{", at);
        std::size_t end = ptx.find("\n}", body);
        if (end == std::string::npos) end = ptx.size();
        const std::string head = ptx.substr(at, body - at), text = ptx.substr(body, end - body);
        for (std::size_t p = 0; (p = head.find(".param", p)) != std::string::npos; p++) function.parameters++;
        const std::size_t limit = head.find(".maxntid");
        if (limit != std::string::npos) function.most_threads = std::stoul(head.substr(limit + 8));
        for (const auto &[name, bytes] : shared)
            if (text.find(name) != std::string::npos) function.static_shared += bytes;
        function.allowed_shared = SHARED_UNASKED - function.static_shared;
        module->functions[function.name] = function;
        at = end;
    }
    // The file that has most of them.
    const Kernels *best = nullptr;
    std::size_t most = 0;
    for (const auto &file : files()) {
        std::size_t common = 0;
        for (const auto &kernel : file.second) common += module->functions.count(kernel.first);
        if (common > most) most = common, best = &file.second;
    }
    for (auto &[name, function] : module->functions) {
        const auto found = best ? best->find(name) : Kernels::const_iterator();
        function.kernel = best && found != best->end() ? &found->second : nullptr;
    }
    return module.release();
}

}  // namespace

namespace imitation {

void add(const char *file, Kernels kernels) { files()[file] = std::move(kernels); }

void enqueue(CUstream stream, const char *name, std::function<void()> work) {
    ALONE;
    give(stream, name, std::move(work));
}

}  // namespace imitation

extern "C" {

#define API EXPORTED CUresult CUDAAPI

API cuInit(unsigned) { return CUDA_SUCCESS; }
API cuDeviceGet(CUdevice *device, int number) {
    *device = 0;
    return number == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
API cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = MULTIPROCESSORS; break;
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = 1; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}
API cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice) { return *pool = (CUmemoryPool)1, CUDA_SUCCESS; }
API cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, void *) { return CUDA_SUCCESS; }
API cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) { return *context = (CUcontext)1, CUDA_SUCCESS; }
API cuDevicePrimaryCtxRelease(CUdevice) { return CUDA_SUCCESS; }
API cuCtxDestroy(CUcontext) { return CUDA_SUCCESS; }
// As CUDA does: a thread without a context gets an error at its first call of most functions.
static thread_local CUcontext current = nullptr;
API cuCtxGetCurrent(CUcontext *context) { return *context = current, CUDA_SUCCESS; }
API cuCtxSetCurrent(CUcontext context) { return current = context, CUDA_SUCCESS; }
#define NEEDS_CONTEXT if (!current) return CUDA_ERROR_INVALID_CONTEXT
API cuGetErrorString(CUresult error, const char **text) {
    static thread_local char told[64];
    std::snprintf(told, sizeof told, "error %d of the imitated driver", int(error));
    return *text = told, CUDA_SUCCESS;
}

API cuStreamCreate(CUstream *stream, unsigned) {
    NEEDS_CONTEXT;
    ALONE;
    streams.insert(*stream = new CUstream_st);
    return CUDA_SUCCESS;
}
API cuStreamDestroy(CUstream stream) {
    ALONE;
    drain(stream, stream->given);
    streams.erase(stream);
    delete stream;
    return CUDA_SUCCESS;
}
API cuStreamSynchronize(CUstream stream) {
    NEEDS_CONTEXT;
    ALONE;
    stream = real(stream);
    drain(stream, stream->given);
    return CUDA_SUCCESS;
}
API cuCtxSynchronize() {
    NEEDS_CONTEXT;
    ALONE;
    drain_all();
    return CUDA_SUCCESS;
}

API cuEventCreate(CUevent *event, unsigned) { return *event = new CUevent_st, CUDA_SUCCESS; }
API cuEventDestroy(CUevent event) { return delete event, CUDA_SUCCESS; }
API cuEventRecord(CUevent event, CUstream stream) {
    NEEDS_CONTEXT;
    ALONE;
    *event = {real(stream), real(stream)->given};
    return CUDA_SUCCESS;
}
API cuEventSynchronize(CUevent event) {
    ALONE;
    if (event->stream) drain(event->stream, event->place);
    return CUDA_SUCCESS;
}
API cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    ALONE;
    const CUevent_st recorded = *event;
    if (recorded.stream) give(stream, "wait", [recorded] { drain(recorded.stream, recorded.place); });
    return CUDA_SUCCESS;
}

API cuMemAlloc(CUdeviceptr *address, std::size_t bytes) {
    NEEDS_CONTEXT;
    ALONE;
    if (!bytes) return CUDA_ERROR_INVALID_VALUE;
    *address = (CUdeviceptr)allocate(bytes);
    return CUDA_SUCCESS;
}
API cuMemFree(CUdeviceptr address) {
    ALONE;
    drain_all();
    release((char *)address);
    return CUDA_SUCCESS;
}
API cuMemAllocAsync(CUdeviceptr *address, std::size_t bytes, CUstream) {
    NEEDS_CONTEXT;
    ALONE;
    if (!bytes) return CUDA_ERROR_INVALID_VALUE;
    *address = (CUdeviceptr)allocate(bytes);
    return CUDA_SUCCESS;
}
API cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    NEEDS_CONTEXT;
    ALONE;
    char *place = (char *)address;
    const auto piece = pieces.find(place);
    const std::size_t bytes = piece == pieces.end() ? 0 : piece->second;
    to_free += bytes;
    give(stream, "free", [place, bytes] {
        to_free -= bytes;
        release(place);
    });
    if (to_free > MOST_TO_FREE) drain_all();
    return CUDA_SUCCESS;
}
API cuMemHostAlloc(void **address, std::size_t bytes, unsigned) {
    ALONE;
    *address = std::calloc(bytes, 1);
    pinned[(char *)*address] = bytes;
    return CUDA_SUCCESS;
}
API cuMemFreeHost(void *address) {
    ALONE;
    drain_all();
    pinned.erase((char *)address);
    std::free(address);
    return CUDA_SUCCESS;
}

API cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, std::size_t bytes, CUstream stream) {
    NEEDS_CONTEXT;
    ALONE;
    inside(to, bytes, "upload");
    // Memory that is not pinned has been read when the call returns.
    if (is_pinned(from)) {
        give(stream, "upload", [=] { std::memcpy((void *)to, from, bytes); });
    } else {
        auto kept = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
        give(stream, "upload", [=] { std::memcpy((void *)to, kept->data(), bytes); });
    }
    return CUDA_SUCCESS;
}
API cuMemcpyDtoHAsync(void *to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    NEEDS_CONTEXT;
    ALONE;
    inside(from, bytes, "download");
    stream = real(stream);
    const bool late = is_pinned(to);
    give(stream, "download", [=] { std::memcpy(to, (void *)from, bytes); });
    if (!late) drain(stream, stream->given);
    return CUDA_SUCCESS;
}
API cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    NEEDS_CONTEXT;
    ALONE;
    inside(to, bytes, "copy to");
    inside(from, bytes, "copy from");
    give(stream, "copy", [=] { std::memmove((void *)to, (void *)from, bytes); });
    return CUDA_SUCCESS;
}
API cuMemcpyPeerAsync(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, std::size_t, CUstream) { fail("there is one device"); }
API cuMemsetD8Async(CUdeviceptr to, unsigned char value, std::size_t count, CUstream stream) {
    NEEDS_CONTEXT;
    ALONE;
    inside(to, count, "fill");
    give(stream, "fill", [=] { std::memset((void *)to, value, count); });
    return CUDA_SUCCESS;
}

API cuModuleLoad(CUmodule *, const char *) { fail("modules are not read from files"); }
API cuModuleLoadData(CUmodule *module, const void *image) {
    NEEDS_CONTEXT;
    ALONE;
    *module = parse((const char *)image);
    return (*module)->functions.empty() ? CUDA_ERROR_INVALID_PTX : CUDA_SUCCESS;
}
API cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
API cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    NEEDS_CONTEXT;
    ALONE;
    const auto found = module->functions.find(name);
    if (found == module->functions.end()) return CUDA_ERROR_NOT_FOUND;
    *function = &found->second;
    return CUDA_SUCCESS;
}
API cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    ALONE;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
    if (value < 0 || function->static_shared + value > SHARED_MOST) return CUDA_ERROR_INVALID_VALUE;
    function->allowed_shared = value;
    return CUDA_SUCCESS;
}
API cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, CUstream stream, void **parameters, void **) {
    NEEDS_CONTEXT;
    ALONE;
    const char *name = function->name.c_str();
    const Size grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
    const unsigned long long threads = (unsigned long long)block_x * block_y * block_z;
    const auto out = [](unsigned value, unsigned most) { return value < 1 || value > most; };
    if (threads < 1 || threads > function->most_threads)
        fail("%s: %llu threads a block, at most %u", name, threads, function->most_threads);
    if (out(grid_x, GRID_ACROSS) || out(grid_y, GRID_DOWN) || out(grid_z, GRID_DOWN))
        fail("%s: a grid of %u x %u x %u blocks", name, grid_x, grid_y, grid_z);
    if (shared > function->allowed_shared)
        fail("%s: %u bytes of dynamic shared memory, %zu allowed", name, shared, function->allowed_shared);
    const Kernel *kernel = function->kernel;
    if (!kernel) fail("%s: its text is not compiled for the CPU", name);
    if (kernel->parameters.size() != function->parameters)
        fail("%s: %zu parameters, %zu in its PTX", name, kernel->parameters.size(), function->parameters);
    launched.times[function->name]++;
    auto values = std::make_shared<std::vector<char>>(function->parameters * PLACE);
    std::vector<char *> given;
    for (std::size_t n = 0; n < function->parameters; n++) {
        std::memcpy(values->data() + n * PLACE, parameters[n], kernel->parameters[n]);
        if (kernel->parameters[n] == sizeof(char *)) given.push_back(*(char **)(values->data() + n * PLACE));
    }
    give(stream, name, [=] { kernel->run(grid, block, shared, values->data()); }, std::move(given));
    return CUDA_SUCCESS;
}

// No stream is ever recorded here.
API cuStreamIsCapturing(CUstream, CUstreamCaptureStatus *status) {
    return *status = CU_STREAM_CAPTURE_STATUS_NONE, CUDA_SUCCESS;
}

}  // extern "C"
