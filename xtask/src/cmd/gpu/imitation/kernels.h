// Comes before the text of a file of kernels: how a list of them, which comes after it, is made.
#pragma once

#include <cstring>
#include <tuple>

#include "imitation.h"
#include "on_cpu.h"

namespace {

template <typename... Parameters, std::size_t... N>
imitation::Kernel kernel_of(void (*kernel)(Parameters...), std::index_sequence<N...>) {
    static_assert(((sizeof(Parameters) <= imitation::PLACE) && ...), "a parameter is larger than its place");
    const auto run = [kernel](imitation::Size grid, imitation::Size block, std::size_t shared_bytes, const char *values) {
        std::tuple<std::remove_cv_t<Parameters>...> arguments;
        (std::memcpy((void *)&std::get<N>(arguments), values + N * imitation::PLACE, sizeof(Parameters)), ...);
        on_cpu::launch({grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, (shared_bytes + 3) / 4,
                       [&] { std::apply(kernel, arguments); });
    };
    return {{sizeof(Parameters)...}, run};
}

template <typename... Parameters>
imitation::Kernel kernel_of(void (*kernel)(Parameters...)) {
    return kernel_of(kernel, std::index_sequence_for<Parameters...>{});
}

}  // namespace
