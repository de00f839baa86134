-- The arithmetic that a traced circuit instantiates; see the Verilog cells. Every result is modulo 2^BW_OUT.
library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

package cells is
    -- value * 2^pad in `width` bits.
    function widen(value : std_logic_vector; is_signed, pad, width : integer) return unsigned;
    function largest(a, b : integer) return integer;
end package;

package body cells is
    function largest(a, b : integer) return integer is
    begin
        if a > b then return a; else return b; end if;
    end function;

    function widen(value : std_logic_vector; is_signed, pad, width : integer) return unsigned is
        variable full : unsigned(largest(width, value'length + pad) - 1 downto 0) := (others => '0');
    begin
        if is_signed = 1 then
            full := unsigned(resize(signed(value), full'length));
        else
            full := resize(unsigned(value), full'length);
        end if;
        full := shift_left(full, pad);
        return full(width - 1 downto 0);
    end function;
end package body;

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use work.cells.all;

-- result = (in0 +- in1 * 2^SHIFT1) / 2^DROP_LSBS, aligned to the lower of the two ends.
entity shift_adder is
    generic (BW_INPUT0, BW_INPUT1 : integer := 32; SIGNED0, SIGNED1 : integer := 0; BW_OUT : integer := 32;
             DROP_LSBS, SHIFT1, IS_SUB : integer := 0);
    port (in0 : in std_logic_vector(BW_INPUT0 - 1 downto 0); in1 : in std_logic_vector(BW_INPUT1 - 1 downto 0);
          result : out std_logic_vector(BW_OUT - 1 downto 0));
end entity;

architecture rtl of shift_adder is
    constant WIDTH : integer := BW_OUT + DROP_LSBS;
    signal a, b, sum : unsigned(WIDTH - 1 downto 0);
begin
    a <= widen(in0, SIGNED0, largest(-SHIFT1, 0), WIDTH);
    b <= widen(in1, SIGNED1, largest(SHIFT1, 0), WIDTH);
    sum <= a - b when IS_SUB = 1 else a + b;
    result <= std_logic_vector(sum(WIDTH - 1 downto DROP_LSBS));
end architecture;

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use work.cells.all;

-- result = (+-in0 * 2^PAD0 +-in1 * 2^PAD1 +-in2 * 2^PAD2) / 2^DROP_LSBS, minus where NEGATE is 1.
entity ternary_adder is
    generic (BW_INPUT0 : integer := 32; SIGNED0, NEGATE0, PAD0 : integer := 0;
             BW_INPUT1 : integer := 32; SIGNED1, NEGATE1, PAD1 : integer := 0;
             BW_INPUT2 : integer := 32; SIGNED2, NEGATE2, PAD2 : integer := 0;
             BW_OUT : integer := 32; DROP_LSBS : integer := 0);
    port (in0 : in std_logic_vector(BW_INPUT0 - 1 downto 0); in1 : in std_logic_vector(BW_INPUT1 - 1 downto 0);
          in2 : in std_logic_vector(BW_INPUT2 - 1 downto 0); result : out std_logic_vector(BW_OUT - 1 downto 0));
end entity;

architecture rtl of ternary_adder is
    constant WIDTH : integer := BW_OUT + DROP_LSBS;
    signal a, b, c, sum : unsigned(WIDTH - 1 downto 0);

    function term(value : unsigned; negate : integer) return unsigned is
    begin
        if negate = 1 then return 0 - value; else return value; end if;
    end function;
begin
    a <= widen(in0, SIGNED0, PAD0, WIDTH);
    b <= widen(in1, SIGNED1, PAD1, WIDTH);
    c <= widen(in2, SIGNED2, PAD2, WIDTH);
    sum <= term(a, NEGATE0) + term(b, NEGATE1) + term(c, NEGATE2);
    result <= std_logic_vector(sum(WIDTH - 1 downto DROP_LSBS));
end architecture;

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use work.cells.all;

-- result = in0 where key is 1, else in1; one of them moved up by SHIFT1 bits.
entity mux is
    generic (BW_INPUT0, BW_INPUT1 : integer := 32; SIGNED0, SIGNED1 : integer := 0; BW_OUT : integer := 32;
             SHIFT1 : integer := 0);
    port (key : in std_logic; in0 : in std_logic_vector(BW_INPUT0 - 1 downto 0);
          in1 : in std_logic_vector(BW_INPUT1 - 1 downto 0); result : out std_logic_vector(BW_OUT - 1 downto 0));
end entity;

architecture rtl of mux is
begin
    result <= std_logic_vector(widen(in0, SIGNED0, largest(-SHIFT1, 0), BW_OUT)) when key = '1'
              else std_logic_vector(widen(in1, SIGNED1, largest(SHIFT1, 0), BW_OUT));
end architecture;

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use work.cells.all;

-- result = in0 SUBOP in1, aligned as in mux; SUBOP is 0 for and, 1 for or, 2 for exclusive or.
entity binop is
    generic (BW_INPUT0, BW_INPUT1 : integer := 32; SIGNED0, SIGNED1 : integer := 0; BW_OUT : integer := 32;
             SHIFT1, SUBOP : integer := 0);
    port (in0 : in std_logic_vector(BW_INPUT0 - 1 downto 0); in1 : in std_logic_vector(BW_INPUT1 - 1 downto 0);
          result : out std_logic_vector(BW_OUT - 1 downto 0));
end entity;

architecture rtl of binop is
    signal a, b : std_logic_vector(BW_OUT - 1 downto 0);
begin
    a <= std_logic_vector(widen(in0, SIGNED0, largest(-SHIFT1, 0), BW_OUT));
    b <= std_logic_vector(widen(in1, SIGNED1, largest(SHIFT1, 0), BW_OUT));
    result <= (a and b) when SUBOP = 0 else (a or b) when SUBOP = 1 else (a xor b);
end architecture;

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use work.cells.all;

-- neg_out = -neg_in
entity negative is
    generic (BW_IN, BW_OUT : integer := 32; IN_SIGNED : integer := 0);
    port (neg_in : in std_logic_vector(BW_IN - 1 downto 0); neg_out : out std_logic_vector(BW_OUT - 1 downto 0));
end entity;

architecture rtl of negative is
begin
    neg_out <= std_logic_vector(0 - widen(neg_in, IN_SIGNED, 0, BW_OUT));
end architecture;

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use work.cells.all;

-- result = in0 * in1
entity multiplier is
    generic (BW_INPUT0, BW_INPUT1 : integer := 32; SIGNED0, SIGNED1 : integer := 0; BW_OUT : integer := 32);
    port (in0 : in std_logic_vector(BW_INPUT0 - 1 downto 0); in1 : in std_logic_vector(BW_INPUT1 - 1 downto 0);
          result : out std_logic_vector(BW_OUT - 1 downto 0));
end entity;

architecture rtl of multiplier is
    signal product : unsigned(2 * BW_OUT - 1 downto 0);
begin
    product <= widen(in0, SIGNED0, 0, BW_OUT) * widen(in1, SIGNED1, 0, BW_OUT);
    result <= std_logic_vector(product(BW_OUT - 1 downto 0));
end architecture;
